"""Scripts written by hand and recordings of tests, on other implementations than they come from."""

import json
import re

import pytest

from conftest import FOLDER, SAVE_LOAD, read_json

SCRIPT = FOLDER / "scripts/linear_stack.json"


def executed(shardcts, folder, implementation):
    """The recording of the script on this implementation."""
    ended = shardcts("exec", SCRIPT, "--impl", implementation, "--world", 3, "--out", folder)
    assert ended.code == 0, ended
    assert "pass" in ended.out
    return read_json(folder / f"traces/{implementation}/script.json")


def without_error_messages(outcomes):
    """The contract names the kind of an error; its text is the implementation's own."""
    return [{"error": outcome["error"]["kind"]} if "error" in outcome else outcome for outcome in outcomes]


def test_script_gives_the_same_outcomes_on_the_reference_and_on_pytorch(shardcts, tmp_path):
    reference = executed(shardcts, tmp_path / "reference", "reference")
    torch = executed(shardcts, tmp_path / "torch", "torch")

    full = [outcome["value"]["$tensor"] for outcome in reference["steps"][4]["outcomes"]]
    assert [tensor["shape"] for tensor in full] == [[7, 5]] * 3
    assert len({tensor["digest"] for tensor in full}) == 1
    local = [outcome["value"]["0.weight"]["$dtensor"]["local"] for outcome in reference["steps"][3]["outcomes"]]
    assert [tensor["shape"] for tensor in local] == [[3, 5], [3, 5], [1, 5]]
    assert [outcome["error"]["kind"] for outcome in reference["steps"][5]["outcomes"]] == ["RuntimeError"] * 3

    assert [step["op"] for step in torch["steps"]] == [step["op"] for step in reference["steps"]]
    for step, other in zip(reference["steps"], torch["steps"]):
        assert without_error_messages(step["outcomes"]) == without_error_messages(other["outcomes"]), step["op"]


def test_script_that_expects_something_else_fails(shardcts, tmp_path):
    script = read_json(SCRIPT)
    script["steps"][5]["expect"] = {"error": "KeyError"}
    (tmp_path / "script.json").write_text(json.dumps(script))
    ended = shardcts("exec", "script.json", "--impl", "reference", "--out", "out")
    assert ended.code == 1, ended
    assert "steps[5] model.load_state_dict: expected KeyError, actual RuntimeError" in ended.out


@pytest.fixture
def recording(run_shardcts, tmp_path):
    """The recording of a passing test, made on the reference."""
    ended, run = run_shardcts("reference", "--filter", SAVE_LOAD, "--trace", "full", out="recorded")
    assert (ended.code, run.verdicts) == (0, ["pass"]), ended
    return run.folder / run.tests[0]["trace"]


def test_recording_of_the_reference_holds_on_pytorch(shardcts, recording):
    ended = shardcts("replay", recording, "--impl", "torch", "--out", "replay")
    assert ended.code == 0, ended
    assert "0 differences of value, 0 of structure" in ended.out


def test_replay_on_a_mutant_names_the_first_difference(shardcts, recording):
    ended = shardcts("replay", recording, "--impl", "reference+mutant=state_dict_reversed", "--out", "replay")
    assert ended.code == 1, ended
    (line,) = [line for line in ended.out.splitlines() if line.startswith("first difference: ")]
    assert "model.state_dict" in line
    assert "step" in line


def cut(text):
    return text[: len(text) // 2]


def without_outcomes(text):
    recorded = json.loads(text)
    for step in recorded["steps"]:
        del step["outcomes"]
    return json.dumps(recorded)


def without_outcomes_of_one_step(text):
    recorded = json.loads(text)
    del recorded["steps"][-1]["outcomes"]
    return json.dumps(recorded)


def with_another_first_operation(text):
    recorded = json.loads(text)
    recorded["steps"][0]["op"] = "model.fly"
    return json.dumps(recorded)


def with_outcome_of_one_rank_only(text):
    recorded = json.loads(text)
    recorded["steps"][-1]["outcomes"].pop()
    return json.dumps(recorded)


def with_broken_data(text):
    return re.sub(r'("data": ?")....', r"\1AAAA", text, count=1)


@pytest.mark.parametrize("tamper", [
    cut, without_outcomes, without_outcomes_of_one_step, with_another_first_operation, with_outcome_of_one_rank_only,
    with_broken_data], ids=lambda tamper: tamper.__name__)
def test_tampered_recording_is_wrong_input(shardcts, recording, tmp_path, tamper):
    original = recording.read_text()
    (tmp_path / "tampered.json").write_text(tamper(original))
    assert (tmp_path / "tampered.json").read_text() != original
    ended = shardcts("replay", "tampered.json", "--impl", "reference", "--out", "replay")
    assert ended.code == 2, ended
    assert ended.err.startswith("shardcts: ")
    assert "tampered.json" in ended.err
    assert ended.err.count("\n") == 1


def test_collective_on_some_ranks_only_is_wrong_input(shardcts):
    ended = shardcts("exec", FOLDER / "scripts/one_rank_in_a_collective.json", "--impl", "reference", "--out", "out")
    assert ended.code == 2, ended
    assert ended.err.endswith("steps[1]: model.wrap is collective: all ranks must call it (or these \"among\" themselves)\n")
