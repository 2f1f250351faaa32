"""Log tails: the last lines, never a file outside the run folder, never a failed report."""
import os

import example_run
from shardcts_reports.logs import LogTails, tail


def test_every_rank_has_its_own_log(tmp_path):
    example_run.write_run(tmp_path, example_run.make_run())
    tails = LogTails(tmp_path)
    tails.add(example_run.LOG, 4)
    lines = tails.tails[example_run.LOG]["2"]["lines"]
    assert (lines[0], lines[-1]) == ("rank 2 line 31", "rank 2 line 130")


def test_tail_is_the_last_100_lines(tmp_path):
    (tmp_path / "x").write_text("".join(f"line {number}\n" for number in range(1, 301)))
    lines = tail(tmp_path / "x")
    assert (len(lines), lines[0], lines[-1]) == (100, "line 201", "line 300")


def test_control_sequences_and_long_lines_are_cut(tmp_path):
    (tmp_path / "x").write_bytes(b"\x1b[31mred\x1b[0m\x00 \xff\n" + b"y" * 1000 + b"\n")
    lines = tail(tmp_path / "x")
    assert lines[0] == "red \ufffd"
    assert lines[1] == "y" * 400 + "…"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "rank-0.log").write_text("secret")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pool").symlink_to(tmp_path / "secret")
    tails = LogTails(tmp_path / "run")
    tails.add("pool", 1)
    assert tails.tails["pool"]["0"] == {"note": "not shown: the log lies outside the run folder"}


def test_missing_logs_and_pipes_become_notes(tmp_path):
    (tmp_path / "pool").mkdir()
    os.mkfifo(tmp_path / "pool" / "rank-0.log")
    tails = LogTails(tmp_path)
    tails.add("pool", 2)
    assert tails.tails["pool"] == {"0": {"note": "not readable: not a regular file"},
                                   "1": {"note": "not readable: No such file or directory"}}


def test_the_budget_bounds_the_report(tmp_path):
    example_run.write_run(tmp_path, example_run.make_run())
    tails = LogTails(tmp_path, budget_bytes=100)
    tails.add(example_run.LOG, 4)
    assert "lines" in tails.tails[example_run.LOG]["0"]
    assert tails.tails[example_run.LOG]["1"] == {"note": "left out: the report carries enough logs already"}
