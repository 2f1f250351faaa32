"""Ranks that are forks of a warm process are ranks like others, and nothing outlives anything."""

import os
import signal
from pathlib import Path

import pytest

from conftest import CACHED, end_of, processes_of, ranks_are_in, results, start_shardcts, wait_until

SLEEPING = "python:faulty:Sleeping,rank=1"  # in the second of four tests


def named(name, folder):
    """Ids of the processes of this name (at most 15 letters) whose command line holds the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == name[:15] + "\n" and str(folder) in (process / "cmdline").read_text():
                found.append(int(process.name))
        except OSError:
            continue  # it ended in the meantime
    return found


@pytest.fixture
def run_and_signal(tmp_path):
    """run_and_signal(name, signal) -> (Ended, Run): the signal goes to the processes of this name when rank 1 sleeps."""

    def call(name, number):
        folder = tmp_path / "out"
        process = start_shardcts("run", "--impl", SLEEPING, "--filter", CACHED.format(2), "--out", "out", "--timeout", "20",
                                 cwd=tmp_path)
        try:
            wait_until(lambda: ranks_are_in(folder, "mlp_dim=3,"), 90, "the second test starts")
            victims = named(name, folder)
            assert victims, f"no process {name}"
            for victim in victims:
                os.kill(victim, number)
            ended = end_of(process, 120)
        finally:
            process.kill()
        assert processes_of(ended.pid, folder) == [], ended
        return ended, results(folder)

    return call


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_ranks_are_forks_and_agree_with_cold_ones(shardcts, run_shardcts, implementation):
    _, warm = run_shardcts(implementation, "--filter", CACHED.format(2), out="warm")
    _, cold = run_shardcts(implementation, "--filter", CACHED.format(2), "--start", "cold", out="cold")
    assert warm.verdicts == cold.verdicts == ["pass"] * 4
    assert (warm.document["run"]["start"], warm.document["pools"][0]["warm_starts"]) == ("warm", 1)
    assert (cold.document["run"]["start"], cold.document["pools"][0]["warm_starts"]) == ("cold", 0)
    assert warm.document["implementations"][0]["warm"]["seconds"] > 0
    assert cold.document["implementations"][0]["warm"] is None
    parity = shardcts("parity", "warm", "cold", "--expected", implementation, "--actual", implementation)
    assert parity.code == 0, parity
    assert "0 close, 0 differences of value, 0 of structure" in parity.out, parity


def test_fresh_pools_start_cold(run_shardcts):
    _, run = run_shardcts("reference", "--filter", CACHED.format(2), "--pool=fresh")
    assert (run.starts(), run.document["pools"][0]["warm_starts"]) == (4, 0)


def test_the_warm_process_is_killed(run_and_signal):
    ended, run = run_and_signal("shardcts-warm", signal.SIGKILL)
    assert run.complete
    assert (run.verdicts, ended.code) == (["pass", "harness_error", "pass", "pass"], 3), ended
    assert run.tests[1]["reason"] == "the warm process ended and its ranks with it: Killed (signal 9)"
    assert run.document["pools"][0]["warm_starts"] == run.starts() == 2


def test_the_ranks_are_killed(run_and_signal):
    ended, run = run_and_signal("shardcts-rank", signal.SIGKILL)
    assert (run.verdicts, ended.code) == (["pass", "crash", "pass", "pass"], 1), ended
    assert "Killed (signal 9)" in run.tests[1]["reason"]


def test_a_warm_process_that_is_stopped_keeps_nothing_alive(run_and_signal):
    ended, run = run_and_signal("shardcts-warm", signal.SIGSTOP)
    assert (run.verdicts, ended.code) == (["pass", "hang", "pass", "pass"], 1), ended
    assert run.document["pools"][0]["warm_starts"] == 1


def test_ranks_of_a_launcher_start_cold(run_shardcts):
    ended, run = run_shardcts("reference", "--filter", CACHED.format(2), "--launcher", "mpiexec -n {ranks}")
    assert run.verdicts == ["pass"] * 4, ended
    assert (run.document["run"]["start"], run.document["pools"][0]["warm_starts"]) == ("cold", 0)


@pytest.mark.parametrize("implementation", ["reference", "torch"])
def test_mpi_is_opened_only_where_it_is_asked_for(run_shardcts, implementation):
    _, run = run_shardcts(implementation, "--filter", CACHED.format(2), out="without")
    assert run.verdicts == ["pass"] * 4
    assert not list(run.folder.glob("runs/*/*/pool-0/launcher.log"))
    _, run = run_shardcts(f"{implementation},comm=mpi", "--filter", CACHED.format(2), out="with")
    assert run.verdicts == ["pass"] * 4
    assert list(run.folder.glob("runs/*/*/pool-0/launcher.log"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_signal_of_a_rank_is_said_as_it_was(run_and_signal, number):
    ended, run = run_and_signal("shardcts-rank", number)
    assert (run.verdicts, ended.code) == (["pass", "crash", "pass", "pass"], 1), ended
    assert f"(signal {number.value})" in run.tests[1]["reason"], run.tests[1]["reason"]
