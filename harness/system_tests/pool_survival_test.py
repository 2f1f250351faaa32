"""One rank breaks at one operation: the test gets the verdict that says so, and the rest of the pool's tests theirs."""

import json

import pytest

from conftest import CACHED, FAULTY, SYNTHETIC

WALK = "synthetic/Synthetic.test_walk/world_size={},walk={}"
FORWARD = 4  # a walk builds, wraps and makes an optimizer before; here every rank waits for its peers


@pytest.fixture
def walk_with_fault(run_shardcts, tmp_path):
    """walk_with_fault(kind, world_size, rank, operation) -> Ended, Run, the faulty test: the second of three walks."""

    def call(kind, world_size, rank, operation, *words):
        walks = [WALK.format(world_size, walk) for walk in range(3)]
        faults = tmp_path / "faults.json"
        faults.write_text(json.dumps({walks[1]: {"kind": kind, "rank": rank, "operation": operation}}))
        filters = [word for walk in walks for word in ("--filter", walk)]
        ended, run = run_shardcts(f"{FAULTY},faults={faults}", *filters, *words, program=SYNTHETIC)
        assert run.complete
        assert [run.verdicts[0], run.verdicts[2]] == ["pass", "pass"], ended
        return ended, run, run.tests[1]

    return call


@pytest.mark.parametrize("kind", ["error", "throw"])
@pytest.mark.parametrize("world_size, rank", [(2, 1), (2, 0), (4, 2)])
def test_a_rank_that_fails_inside_a_collective_leaves_the_pool_usable(walk_with_fault, kind, world_size, rank):
    ended, run, faulty = walk_with_fault(kind, world_size, rank, FORWARD)
    assert (faulty["verdict"], ended.code) == ("fail", 1), ended
    assert "seeded fault in operation 4" in faulty["reason"]
    verdicts = [entry["verdict"] for entry in faulty["ranks"]]
    assert verdicts == ["fail" if other == rank else "aborted" for other in range(world_size)]
    peers = [entry["reason"] for entry in faulty["ranks"] if entry["verdict"] == "aborted"]
    assert any(f"was in model.forward, but rank {rank} stopped after a failure" in reason for reason in peers)
    assert run.starts() == 1
    assert run.document["pools"][0]["problems"] == []
    assert faulty["seconds"] < 10, "nobody waited for a deadline"


def test_a_rank_that_fails_again_and_again_keeps_its_pool(run_shardcts, tmp_path):
    walks = [WALK.format(2, walk) for walk in range(20)]
    faults = {walk: {"kind": "error", "rank": i % 2, "operation": FORWARD + i % 5} for i, walk in enumerate(walks[::2])}
    (tmp_path / "faults.json").write_text(json.dumps(faults))
    filters = [word for walk in walks for word in ("--filter", walk)]
    ended, run = run_shardcts(f"{FAULTY},faults={tmp_path}/faults.json", "--jobs", 1, *filters, program=SYNTHETIC)
    assert run.verdicts == ["fail", "pass"] * 10, ended
    assert run.starts() == 1


def test_a_killed_rank_is_a_crash(walk_with_fault):
    ended, run, faulty = walk_with_fault("kill", 2, 1, FORWARD)
    assert (faulty["verdict"], ended.code) == ("crash", 1), ended
    assert "rank 1 ended without finishing its tests" in faulty["reason"]
    assert run.starts() == 2


def test_a_wrong_answer_of_one_rank_diverges_with_both_operations_named(walk_with_fault):
    ended, run, faulty = walk_with_fault("nan", 2, 1, FORWARD)
    assert (faulty["verdict"], ended.code) == ("diverged", 1), ended
    assert "rank 0 calls model.backward, but rank 1 calls model.state_dict" in faulty["reason"]
    assert run.starts() == 1


def test_a_stopped_rank_is_a_hang_with_the_stacks_of_all_ranks(walk_with_fault):
    ended, run, faulty = walk_with_fault("stop", 2, 1, FORWARD, "--timeout", "5")
    assert (faulty["verdict"], ended.code) == ("hang", 1), ended
    assert "rank 1 is stopped by a signal" in faulty["reason"]
    assert "rank 0 in shardcts::" in faulty["reason"], "the wait for its peer"
    assert 5 <= faulty["seconds"] < 5 + 6, "stacks are taken within seconds"
    for rank in range(2):
        log = (run.folder / faulty["log"] / f"rank-{rank}.log").read_text(errors="replace")
        assert f"shardcts: rank {rank} does not come back; its stacks:" in log
        assert "Thread 1 " in log, "of the debugger"
    assert run.starts() == 2


def test_stacks_of_a_python_adapter_name_its_lines(run_shardcts):
    filters = ("--filter", CACHED.format(2).replace("?", "3"), "--timeout", "10")
    ended, run = run_shardcts("python:faulty:Sleeping,rank=1", *filters)
    (faulty,) = run.tests
    assert faulty["verdict"] == "hang", ended
    assert "rank 1 in model_forward (faulty.py:" in faulty["reason"]
    assert "rank 0 in " in faulty["reason"]
    log = (run.folder / faulty["log"] / "rank-1.log").read_text(errors="replace")
    assert "Current thread" in log, "of Python"
    assert "native stack, innermost first:" in log


def with_failing_starts(run_shardcts, tmp_path, starts):
    """Four tests, each in a pool of its own, and the pools' problems."""
    implementation = f"python:failing_starts:FailingStarts,starts={tmp_path}/starts,at={starts}"
    ended, run = run_shardcts(implementation, "--pool=fresh", "--jobs", 1, "--filter", CACHED.format(2), timeout=300)
    return ended, run, [problem for pool in run.document["pools"] for problem in pool["problems"]]


def test_a_start_that_fails_after_a_good_one_is_tried_again(run_shardcts, tmp_path):
    ended, run, problems = with_failing_starts(run_shardcts, tmp_path, "2")
    assert (run.verdicts, ended.code) == (["pass"] * 4, 0), ended
    assert sum("RuntimeError: connectFullMesh failed: Connection closed by peer" in problem for problem in problems) == 1


def test_starts_that_fail_after_a_good_one_do_not_end_the_run(run_shardcts, tmp_path):
    ended, run, _ = with_failing_starts(run_shardcts, tmp_path, "2+3")
    assert (run.verdicts, ended.code) == (["pass", "fail", "pass", "pass"], 1), ended
    assert run.tests[1]["reason"].startswith("the implementation could not be made twice in a row: ")
    assert run.complete


def test_a_first_start_that_fails_is_wrong_input(shardcts, tmp_path):
    implementation = f"python:failing_starts:FailingStarts,starts={tmp_path}/starts,at=1"
    ended = shardcts("run", "--impl", implementation, "--filter", CACHED.format(2), "--out", "out")
    assert ended.code == 2 and "connectFullMesh failed" in ended.err, ended
