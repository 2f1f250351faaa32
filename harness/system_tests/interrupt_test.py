"""SIGINT in the middle of a run: nothing is left behind, and nobody takes the part for the whole."""

import signal

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
