"""One rank breaks in the middle of a test: that test gets the verdict that says so, every other one its own."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from conftest import CACHED

THE_OTHERS_PASS = ["pass", "pass", "pass"]


def verdict_of_the_faulty_test(run, dim=3):
    """The test of the fault; asserts that the rest of the run went on as if nothing had happened."""
    faulty = run.test(f"mlp_dim={dim},")
    assert run.complete
    assert [test["verdict"] for test in run.tests if test is not faulty] == THE_OTHERS_PASS
    return faulty


@pytest.mark.parametrize("world_size, rank", [(2, 1), (4, 2)])
def test_a_rank_that_is_killed_is_a_crash_of_its_test(run_shardcts, world_size, rank):
    ended, run = run_shardcts(f"python:faulty:Killed,rank={rank}", "--filter", CACHED.format(world_size))
    faulty = verdict_of_the_faulty_test(run)
    assert (faulty["verdict"], ended.code) == ("crash", 1), ended
    assert f"rank {rank} ended without finishing its tests" in faulty["reason"]
    assert faulty["ranks"][rank]["verdict"] == "crash"
    assert run.starts() == 2
    assert len(run.document["pools"][0]["problems"]) == 1


def test_a_rank_that_sleeps_for_ever_is_a_hang(run_shardcts):
    ended, run = run_shardcts("python:faulty:Sleeping,rank=1", "--filter", CACHED.format(2), "--timeout", "10")
    faulty = verdict_of_the_faulty_test(run)
    assert (faulty["verdict"], ended.code) == ("hang", 1), ended
    assert "did not come back within 10 s" in faulty["reason"]
    assert 10 <= faulty["seconds"] < 20
    assert run.starts() == 2


@pytest.mark.parametrize("then", ["go on", "die"])
@pytest.mark.parametrize("start", ["warm", "cold"])
def test_what_a_rank_leaves_behind_is_ended_however_its_environment_looks(run_shardcts, start, then):
    seconds = "7" + "".join(filter(str.isdigit, os.urandom(20).hex()))[:8]  # no other sleeps as long
    ended, run = run_shardcts(f"python:faulty:LeavingProcesses,rank=1,seconds={seconds},then={then}", "--start", start,
                              "--filter", CACHED.format(2))
    left = [folder for folder in Path("/proc").glob("[0-9]*") if sleeps(folder, seconds)]
    for process in left:
        os.kill(int(process.name), signal.SIGKILL)
    assert left == [], ended
    assert verdict_of_the_faulty_test(run)["verdict"] == {"go on": "pass", "die": "crash"}[then], ended


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_no_temporary_file_outlives_its_pool(run_shardcts, monkeypatch, short_folder, start):
    monkeypatch.setenv("TMPDIR", str(short_folder))
    ended, run = run_shardcts("python:faulty:LeavingFiles,rank=1", "--start", start, "--filter", CACHED.format(2))
    assert verdict_of_the_faulty_test(run)["verdict"] == "crash", ended
    assert list(short_folder.iterdir()) == []


@pytest.mark.parametrize("then, verdict", [("end", "crash"), ("hang", "hang")])
def test_a_pipe_in_place_of_a_log_stops_nobody(run_shardcts, then, verdict):
    ended, run = run_shardcts(f"python:faulty:LogIsAPipe,rank=1,then={then}", "--filter", CACHED.format(2),
                              "--timeout", "10")
    assert verdict_of_the_faulty_test(run)["verdict"] == verdict, ended


@pytest.fixture
def short_folder():
    """Names of Unix sockets in it may have 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        yield Path(folder)


def sleeps(folder, seconds):
    try:
        return (folder / "cmdline").read_bytes() == f"/bin/sleep\0{seconds}\0".encode()
    except OSError:
        return False  # it ended in the meantime


@pytest.mark.parametrize("how, verdict, code, said", [
    ("full", "harness_error", 3, "rank 1 could not go on: event file: No space left on device"),
    ("closed", "crash", 1, "event file: Bad file descriptor"),
])
def test_a_full_disk_is_nobodys_fault_but_a_closed_file_is(run_shardcts, how, verdict, code, said):
    ended, run = run_shardcts(f"python:faulty:FullDisk,rank=1,how={how}", "--filter", CACHED.format(2))
    faulty = verdict_of_the_faulty_test(run)
    assert (faulty["verdict"], ended.code) == (verdict, code), ended
    assert said in faulty["reason"]


def test_an_error_on_one_rank_stops_its_peers_and_the_pool_lives_on(run_shardcts):
    ended, run = run_shardcts("python:faulty:RaisingBeforeCollective,rank=1", "--filter", CACHED.format(2))
    faulty = verdict_of_the_faulty_test(run)
    assert (faulty["verdict"], ended.code) == ("fail", 1), ended
    assert [rank["verdict"] for rank in faulty["ranks"]] == ["aborted", "fail"]
    assert "seeded error of one rank" in faulty["reason"]
    assert [failure["rank"] for failure in faulty["failures"]] == [1]
    assert run.starts() == 1
    assert run.document["pools"][0]["problems"] == []


def test_peers_inside_a_foreign_collective_do_not_hide_the_error(run_shardcts):
    ended, run = run_shardcts("python:faulty:RaisingInCollective,rank=1", "--filter", CACHED.format(2),
                              "--stop-timeout", "1")
    faulty = verdict_of_the_faulty_test(run)
    assert (faulty["verdict"], ended.code) == ("fail", 1), ended
    assert [rank["verdict"] for rank in faulty["ranks"]] == ["aborted", "fail"]
    assert "seeded error of one rank" in faulty["reason"]
    assert "did not stop within 1 s after rank 1 had ended the test" in faulty["ranks"][0]["reason"]
    assert run.starts() == 2


def test_an_implementation_that_cannot_be_reset_fails_the_test_whose_objects_it_keeps(run_shardcts):
    ended, run = run_shardcts("python:faulty:RaisingInReset,rank=1", "--filter", CACHED.format(2))
    assert run.complete
    assert run.verdicts == ["pass", "fail", "pass", "pass"], ended
    assert "after the test: implementation.reset: RuntimeError: seeded error of one rank" in run.tests[1]["reason"]
    assert run.starts() == 1


def test_a_result_of_a_wrong_type_is_told_in_words(run_shardcts):
    ended, run = run_shardcts("python:faulty:WrongTypes", "--filter", CACHED.format(2))
    assert run.complete
    assert run.verdicts == ["pass", "fail", "fail", "pass"]
    assert (run.starts(), ended.code) == (1, 1), ended
    text, foreign = run.tests[1], run.tests[2]
    assert 'the result must be tensor, it is "a text"' in text["reason"]
    assert "model.forward" in text["reason"]
    assert "object" in foreign["reason"]
    assert "model.forward" in foreign["reason"]


def test_a_rank_that_lacks_a_parameter_fails_and_its_peers_do_not_wait_for_it(run_shardcts):
    ended, run = run_shardcts("python:faulty:LosingParameters,rank=1",
                              "--filter", "*save_load/world_size=2,mesh=1-D,mlp_dim=?,*")
    faulty = verdict_of_the_faulty_test(run)
    assert (faulty["verdict"], ended.code) == ("fail", 1), ended
    assert 'rank 1: C5: state-dict keys: missing [], unexpected ["2.out_proj.bias"]' in faulty["reason"]
    assert "rank 1 stopped after a failure" in faulty["ranks"][0]["reason"]
    assert run.starts() == 1


def test_a_rank_that_ends_its_test_early_diverges(run_shardcts):
    ended, run = run_shardcts("python:faulty:LosingEntries,rank=1", "--filter", "test_rank0_offload_full_state_dict")
    (faulty,) = run.tests
    assert (faulty["verdict"], ended.code) == ("diverged", 1), ended
    assert "rank 0 calls tensor.full, but rank 1 ended the test" in faulty["reason"]


def test_ranks_that_declare_different_capabilities_diverge(run_shardcts):
    ended, run = run_shardcts("python:faulty:DeclaringLess,rank=1", "--filter", CACHED.format(2))
    assert run.complete
    assert run.verdicts == ["diverged"] * 4
    assert (run.starts(), ended.code) == (1, 1), ended
    assert run.tests[0]["ranks"][1]["verdict"] == "not_supported"
