"""`shardcts parity`: two runs compared from their recordings alone."""

import json
import re
import shutil

import pytest

from conftest import CACHED, SAVE_LOAD, read_json


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory):
    return tmp_path_factory.mktemp("clean") / "out"


@pytest.fixture
def clean(run_shardcts, clean_run):
    """A green run of four tests; made once, never changed."""
    if not clean_run.exists():
        ended, run = run_shardcts("reference", "--filter", CACHED.format(2), out=clean_run)
        assert (ended.code, run.verdicts) == (0, ["pass"] * 4), ended
    return clean_run


@pytest.fixture
def copy(clean, tmp_path):
    return shutil.copytree(clean, tmp_path / "copy")


def change_results(folder, change):
    document = read_json(folder / "results.json")
    change(document)
    (folder / "results.json").write_text(json.dumps(document))


def test_equal_runs_agree(shardcts, run_shardcts, clean):
    run_shardcts("reference", "--filter", CACHED.format(2), out="second")
    ended = shardcts("parity", clean, "second")
    assert ended.code == 0, ended
    assert "4 tests compared, 0 differ" in ended.out


def test_mutant_is_found_with_test_step_and_key(shardcts, run_shardcts, clean):
    run_shardcts("reference+mutant=parameters_become_tensors", "--filter", CACHED.format(2), out="mutant")
    ended = shardcts("parity", clean, "mutant")
    assert ended.code == 1, ended
    first = ended.out.splitlines()[0]
    assert first.startswith("differs: ")
    assert "mlp_dim=2," in first
    assert "step " in first
    assert "weight" in first


def test_other_value_is_found_with_index_and_both_values(shardcts, run_shardcts):
    run_shardcts("reference", "--filter", SAVE_LOAD, out="clean")
    run_shardcts("reference+mutant=load_reverses_rows", "--filter", SAVE_LOAD, out="mutant")
    ended = shardcts("parity", "clean", "mutant")
    assert ended.code == 1, ended
    first = ended.out.splitlines()[0]
    assert re.search(r"differs: \S+: step \d+ model.\w+ rank 0 [\w.]+: index \(\d+, 0\): expected \S+, actual ", first)


def test_test_in_one_run_only_is_a_difference(shardcts, clean, copy):
    change_results(copy, lambda document: document["tests"].pop())
    ended = shardcts("parity", clean, copy)
    assert ended.code == 1, ended
    assert "1 in one run only" in ended.out


def incomplete(folder):
    change_results(folder, lambda document: document.update(complete=False))


def truncated(folder):
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text[: len(text) // 2])


def absent(folder):
    shutil.rmtree(folder)


def escape_upwards(folder):
    change_results(folder, lambda document: document["tests"][0].update(trace="traces/../../x.json"))


def escape_absolutely(folder):
    change_results(folder, lambda document: document["tests"][0].update(trace="/etc/passwd"))


def lost_trace(folder):
    shutil.rmtree(folder / read_json(folder / "results.json")["tests"][0]["trace"])


def truncated_trace(folder):
    trace = folder / read_json(folder / "results.json")["tests"][0]["trace"] / "rank-1.jsonl"
    trace.write_text(trace.read_text().replace("}", "", 1))


def merged_trace(folder):
    """As recordings were before they had blobs."""
    change_results(folder, lambda document: document["tests"][0].update(trace="traces/reference/old.json"))
    (folder / "traces/reference/old.json").write_text('{"contract": 1, "steps": []}')


@pytest.mark.parametrize("damage, message", [
    (incomplete, "results.json: the run is not complete"),
    (truncated, ": truncated"),
    (absent, "results.json: cannot be read"),
    (escape_upwards, "trace is outside the run folder"),
    (escape_absolutely, "trace is outside the run folder"),
    (lost_trace, "cannot be read"),
    (truncated_trace, "rank-1.jsonl: line 1: not JSON"),
    (merged_trace, "old.json: not a recording of format 2"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_damaged_run_is_wrong_input(shardcts, clean, copy, damage, message):
    damage(copy)
    ended = shardcts("parity", clean, copy)
    assert ended.code == 2, ended
    assert ended.err.startswith("shardcts: ")
    assert message in ended.err
    assert str(copy) in ended.err
    assert ended.err.count("\n") == 1
    assert "tests compared" not in ended.out
