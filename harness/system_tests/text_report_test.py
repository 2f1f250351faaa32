"""The problems of a run by cause, on the terminal: the command that a run ends with shows them."""

import shlex

from conftest import CACHED, SAVE_LOAD


def test_a_run_that_is_red_ends_with_the_command_that_groups_it(shardcts, run_shardcts, tmp_path):
    ended, run = run_shardcts("reference+mutant=state_dict_reversed", "--filter", SAVE_LOAD)
    assert ended.code == 1, ended
    command = ended.out.splitlines()[-1].removeprefix("by cause: ")
    words = shlex.split(command)[1:]
    assert words == ["report", "out", "--format", "text"], ended
    shown = shardcts(*words)
    assert shown.code == 0 and not (tmp_path / "out/report").exists(), shown
    largest = shown.out.split("problems by cause, the largest first:\n")[1].split()
    assert largest[:2] == ["1", "fail"] and run.verdicts == ["fail"], shown


def test_a_green_run_does_not(run_shardcts):
    ended, _ = run_shardcts("reference", "--filter", CACHED.format(2))
    assert ended.out.splitlines()[-1].startswith("results: "), ended


def test_formats_that_are_not_there_are_one_line(shardcts, run_shardcts):
    run_shardcts("reference", "--filter", CACHED.format(2))
    ended = shardcts("report", "out", "--format", "pdf")
    assert ended.code == 2 and ended.err.count("\n") == 1 and "--format" in ended.err, ended
