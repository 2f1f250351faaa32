"""Signals in the middle of a run. SIGINT: nothing is left behind, and nobody takes the part for the whole."""

import signal
import time

from conftest import CACHED, end_of, processes_of, ranks_are_in, results, start_shardcts, wait_until


def test_interrupted_run_leaves_no_process_and_says_that_it_is_incomplete(shardcts, tmp_path):
    folder = tmp_path / "out"
    process = start_shardcts("run", "--impl", "python:faulty:Sleeping,rank=1", "--filter", CACHED.format(2),
                             "--out", "out", cwd=tmp_path)
    try:
        wait_until(lambda: ranks_are_in(folder, "mlp_dim=3,"), 60, "the second test starts")
        assert processes_of(process.pid, folder), "its ranks are seen"
        process.send_signal(signal.SIGINT)
        ended = end_of(process, 30)
    finally:
        process.kill()
    assert processes_of(ended.pid, folder) == []
    assert ended.code == 3, ended
    assert "interrupted" in ended.out

    run = results(folder)
    assert not run.complete
    assert run.verdicts == ["pass", "not_run", "not_run", "not_run"]
    assert {test["reason"] for test in run.tests[1:]} == {"interrupted"}

    report = shardcts("report", "out")
    assert report.code == 0, report
    assert "run is incomplete" in (folder / "report/index.html").read_text(encoding="utf-8").lower()


def test_a_controller_that_was_stopped_takes_no_rank_for_a_hanging_one(tmp_path):
    folder = tmp_path / "out"
    process = start_shardcts("run", "--impl", "python:faulty:Slow,rank=1", "--filter", CACHED.format(2),
                             "--timeout", 8, "--out", "out", cwd=tmp_path)
    try:
        wait_until(lambda: ranks_are_in(folder, "mlp_dim=3,"), 60, "the slow test starts")
        process.send_signal(signal.SIGSTOP)
        time.sleep(9)  # the slow rank has long come back, and waits for the controller
        process.send_signal(signal.SIGCONT)
        ended = end_of(process, 60)
    finally:
        process.kill()
    assert results(folder).verdicts == ["pass"] * 4, ended
    assert ended.code == 0, ended
