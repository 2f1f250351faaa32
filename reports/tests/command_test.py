"""The command as a user starts it: files, exit codes, one-line errors."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

import example_run
from shardcts_reports.boundary import run_as_command

PACKAGE_ROOT = Path(__file__).resolve().parent.parent


def run_module(module, *arguments):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": f"{PACKAGE_ROOT}:{PACKAGE_ROOT / 'verify'}"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def run_reports(*arguments):
    return run_module("shardcts_reports", *arguments)


def assert_one_line_error(result, *parts, code=2):
    assert result.returncode == code, result
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def test_writes_three_files_into_report_by_default(tmp_path):
    folder = example_run.write_run(tmp_path / "out", example_run.make_run())
    result = run_reports(folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == str(folder / "report" / "index.html")
    assert sorted(path.name for path in (folder / "report").iterdir()) == ["index.html", "junit.xml", "summary.md"]


def test_writes_where_told(tmp_path):
    folder = example_run.write_run(tmp_path / "out", example_run.make_green_run())
    assert run_reports(folder, "--out", tmp_path / "elsewhere").returncode == 0
    assert (tmp_path / "elsewhere" / "index.html").exists()
    assert not (folder / "report").exists()


def test_missing_folder(tmp_path):
    assert_one_line_error(run_reports(tmp_path / "none"), "none/results.json: No such file or directory")


def test_folder_in_place_of_the_file(tmp_path):
    (tmp_path / "results.json").mkdir()
    assert_one_line_error(run_reports(tmp_path), "results.json: Is a directory")


def test_a_pipe_in_place_of_the_file_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "results.json")
    assert_one_line_error(run_reports(tmp_path), "results.json: empty file")


def test_a_bad_file_leaves_the_earlier_report_untouched(tmp_path):
    folder = example_run.write_run(tmp_path, example_run.make_green_run())
    assert run_reports(folder).returncode == 0
    before = {path.name: path.read_bytes() for path in (folder / "report").iterdir()}
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text[:-30])
    assert_one_line_error(run_reports(folder), "results.json: line 1, column ", "truncated or corrupt JSON")
    assert before == {path.name: path.read_bytes() for path in (folder / "report").iterdir()}


def test_unwritable_output(tmp_path):
    folder = example_run.write_run(tmp_path / "out", example_run.make_green_run())
    (tmp_path / "file").write_text("")
    assert_one_line_error(run_reports(folder, "--out", tmp_path / "file" / "report"), "file/report", "Not a directory")


@pytest.mark.parametrize("arguments", [(), ("--unknown",)])
def test_wrong_command_line(arguments):
    assert run_reports(*arguments).returncode == 2


def test_an_interruption_is_one_line(capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    assert run_as_command(interrupted) == 130
    assert capsys.readouterr().err == "interrupted\n"
