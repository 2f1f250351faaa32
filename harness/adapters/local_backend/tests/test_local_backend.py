"""The c10d backend "local": every collective at 1, 2, 3 and 4 ranks, groups, and what it does on command.
SHARDCTS_LOCAL_PACKAGE is the folder that holds the package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RANKS = Path(__file__).with_name("local_ranks.py")


def run(case: str, size: int, folder: Path, **settings: str) -> list[subprocess.CompletedProcess]:
    environment = {**os.environ, "PYTHONPATH": os.environ["SHARDCTS_LOCAL_PACKAGE"], "OMP_NUM_THREADS": "1", **settings}
    ranks = [subprocess.Popen([sys.executable, "-B", RANKS, case, str(rank), str(size), folder / "store"],
                              env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
             for rank in range(size)]
    ended = []
    try:
        for process in ranks:
            out, _ = process.communicate(timeout=100)
            ended.append(subprocess.CompletedProcess(process.args, process.returncode, out))
    finally:
        for process in ranks:
            process.kill()
    return ended


def passes(*arguments, **settings) -> None:
    for ended in run(*arguments, **settings):
        assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("size", [1, 2, 3])
def test_values_are_those_of_closed_formulas(size, tmp_path):
    passes("collectives,dtypes,coalesced,messages,groups,delayed", size, tmp_path)


def test_late_calls_hold_poison_until_they_are_waited_for(tmp_path):
    passes("late,inputs_are_read_late", 2, tmp_path, SHARDCTS_LOCAL_LATE="1")


@pytest.mark.parametrize("case, settings", [("fails", {"SHARDCTS_LOCAL_FAIL": "0:2"}),
                                            ("aborts", {"SHARDCTS_LOCAL_ABORT": "0:2"}), ("aborts_what_waits", {})])
def test_failure_and_abort_reach_every_rank(case, settings, tmp_path):
    ended = run(case, 2, tmp_path, **settings)
    assert [one.returncode for one in ended] == [7, 7], [one.stdout for one in ended]


@pytest.mark.parametrize("name, value", [("SHARDCTS_LOCAL_LATE", "soon"), ("SHARDCTS_LOCAL_FAIL", "1"),
                                         ("SHARDCTS_LOCAL_ABORT", "a:b")])
def test_commands_that_do_not_exist_are_said(name, value, tmp_path):
    (ended,) = run("collectives", 1, tmp_path, **{name: value})
    assert ended.returncode == 1 and f"{name}={value}" in ended.stdout, ended.stdout
