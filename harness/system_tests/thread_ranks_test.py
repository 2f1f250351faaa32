"""Ranks that are threads of one process: the same verdicts and bits as processes, and the same care for what breaks."""

import json

import pytest

from conftest import CACHED, FAULTY, SUITE, SYNTHETIC

OFFLOAD = "TestFullyShardStateDictMultiThread.test_rank0_offload_full_state_dict"
WALK = "synthetic/Synthetic.test_walk/world_size={},walk={}"
FORWARD = 4  # a walk builds, wraps and makes an optimizer before


def first_events(run, test):
    """What the ranks of a test's pool said when they started."""
    files = sorted((run.folder / test["log"]).glob("rank-*.events.jsonl"))
    return [json.loads(file.read_text().splitlines()[0]) for file in files]


def test_the_multi_thread_class_runs_on_threads_where_the_implementation_can(run_shardcts):
    ended, run = run_shardcts("reference", "--impl", "torch", "--filter", OFFLOAD)
    assert ended.code == 0, ended
    on_reference, on_torch = run.tests
    assert (on_reference["rank_kind"], on_torch["rank_kind"]) == ("threads", "processes")
    assert len({event["pid"] for event in first_events(run, on_reference)}) == 1
    assert len({event["pid"] for event in first_events(run, on_torch)}) == 2
    assert on_reference["parity"] is not None or on_torch["parity"] is not None, "recordings of both are there"
    assert run.document["pools"][0]["rank_kind"] == "threads"


def test_processes_can_be_asked_for(run_shardcts):
    ended, run = run_shardcts("reference", "--ranks", "processes", "--filter", OFFLOAD)
    assert (ended.code, run.tests[0]["rank_kind"]) == (0, "processes"), ended
    assert " --ranks processes " in run.tests[0]["reproduce"]


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_whole_suite_agrees_with_ranks_that_are_processes(shardcts, run_shardcts, world_size):
    for kind in ("processes", "threads"):
        ended, run = run_shardcts("reference", "--ranks", kind, "--suite", SUITE.split("/")[0], "--world", world_size,
                                  "--jobs", 1, out=kind)
        assert ended.code == 0, ended
        assert {test["rank_kind"] for test in run.tests} == {kind}
        assert run.starts() == 1
    ended = shardcts("parity", "processes", "threads")
    assert ended.code == 0, ended
    recorded = sum(test["trace"] is not None for test in run.tests)
    assert f"{recorded} tests compared, 0 differ" in ended.out, ended


@pytest.fixture
def walk_with_fault(run_shardcts, tmp_path):
    """walk_with_fault(kind, world_size, rank) -> Ended, Run, the faulty test: the second of three walks, on threads."""

    def call(kind, world_size, rank, *words):
        walks = [WALK.format(world_size, walk) for walk in range(3)]
        faults = tmp_path / "faults.json"
        faults.write_text(json.dumps({walks[1]: {"kind": kind, "rank": rank, "operation": FORWARD}}))
        filters = [word for walk in walks for word in ("--filter", walk)]
        ended, run = run_shardcts(f"{FAULTY},faults={faults}", "--ranks", "threads", *filters, *words,
                                  program=SYNTHETIC)
        assert run.complete
        assert {test["rank_kind"] for test in run.tests} == {"threads"}
        assert [run.verdicts[0], run.verdicts[2]] == ["pass", "pass"], ended
        return ended, run, run.tests[1]

    return call


@pytest.mark.parametrize("kind", ["error", "throw"])
@pytest.mark.parametrize("world_size, rank", [(2, 1), (4, 2)])
def test_a_rank_that_fails_inside_a_collective_leaves_the_pool_usable(walk_with_fault, kind, world_size, rank):
    ended, run, faulty = walk_with_fault(kind, world_size, rank)
    assert (faulty["verdict"], ended.code) == ("fail", 1), ended
    assert "seeded fault in operation 4" in faulty["reason"]
    verdicts = [entry["verdict"] for entry in faulty["ranks"]]
    assert verdicts == ["fail" if other == rank else "aborted" for other in range(world_size)]
    assert run.starts() == 1
    assert run.document["pools"][0]["problems"] == []


def test_a_rank_that_crashes_is_named_although_all_end(walk_with_fault):
    ended, run, faulty = walk_with_fault("segv", 2, 1)
    assert (faulty["verdict"], ended.code) == ("crash", 1), ended
    assert "rank 1 ended without finishing its tests: Segmentation fault" in faulty["reason"]
    assert faulty["ranks"][1]["verdict"] == "crash"
    assert run.starts() == 2


def test_a_killed_process_is_a_crash_of_its_test(walk_with_fault):
    ended, run, faulty = walk_with_fault("kill", 2, 1)
    assert (faulty["verdict"], ended.code) == ("crash", 1), ended
    assert run.starts() == 2


def test_a_rank_that_sleeps_for_ever_is_a_hang(walk_with_fault):
    ended, run, faulty = walk_with_fault("sleep", 2, 1, "--timeout", "5")
    assert (faulty["verdict"], ended.code) == ("hang", 1), ended
    assert "did not come back within 5 s" in faulty["reason"]
    log = (run.folder / faulty["log"] / "rank-0.log").read_text(errors="replace")
    assert "rank 1" in log, "the name of the thread, in the stacks of the debugger"
    assert run.starts() == 2


def test_a_wrong_answer_of_one_rank_diverges(walk_with_fault):
    ended, run, faulty = walk_with_fault("nan", 2, 1)
    assert (faulty["verdict"], ended.code) == ("diverged", 1), ended
    assert run.starts() == 1


def test_an_implementation_whose_ranks_cannot_be_threads_is_wrong_input(shardcts):
    ended = shardcts("run", "--impl", "torch", "--ranks", "threads", "--filter", CACHED.format(2), "--out", "out")
    assert (ended.code, ended.err.strip()) == (2, "shardcts: torch: its ranks cannot be threads"), ended


def test_a_launcher_that_starts_several_processes_is_wrong_input(shardcts):
    ended = shardcts("run", "--impl", "reference", "--ranks", "threads", "--filter", CACHED.format(2), "--out", "out",
                     "--launcher", "mpiexec -disable-auto-cleanup -n 2")
    assert ended.code == 2, ended
    assert "the launcher started 2 processes, ranks that are threads need 1" in ended.err
