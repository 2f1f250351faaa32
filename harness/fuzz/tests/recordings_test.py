"""What ranks recorded is told of the steps of a program, of each phase."""

import json

import pytest
from shardcts_fuzz.programs import Action, Program, Step
from shardcts_fuzz.recordings import SKIPPED, Recording


def written(folder, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    texts = [json.dumps({"step": number, **line}) for number, line in enumerate(lines)]
    (folder / "rank-0.jsonl").write_text("\n".join(["{}", *texts]), encoding="utf-8")
    return str(folder)


def line(op, result, /, **args):
    return {"op": op, "args": args, "outcome": {"value": result}}


def action(phase, *steps):
    return Action("any", steps, phase=phase)


A = Step("a", "model.build", {})
S = Step("s", "model.state_dict", {"model": "$a"})


def test_a_step_whose_argument_is_not_there_is_no_line_of_its_op(tmp_path):
    """The first fill has no line, as nothing in the state dict has that name; the second one has."""
    first, second = (Step(let, "tensor.fill", {"value": value, "scalar": 1}) for let, value in (("b", "$s.x"), ("c", "$a.y")))
    folder = written(tmp_path, line("model.build", 1), line("model.state_dict", 2, model={"$ref": [0]}),
                     line("tensor.fill", 3, value={"$ref": [0, "y"]}, scalar=1))  # fmt: skip
    recording = Recording(folder, Program(1, 1, 1, (action(0, A, S, first, second),)))
    assert [recording.outcomes(let) for let in "asbc"] == [[{"value": 1}], [{"value": 2}], [SKIPPED], [{"value": 3}]]


def test_the_last_rank_may_have_arguments_of_its_own(tmp_path):
    load = Step("l", "model.load_state_dict", {"model": "$a", "state_dict": "$s"}, {"model": "$a", "state_dict": {}})
    folder = written(tmp_path, line("model.build", 1), line("model.state_dict", 2, model={"$ref": [0]}),
                     line("model.load_state_dict", 3, model={"$ref": [0]}, state_dict={}))  # fmt: skip
    assert Recording(folder, Program(1, 1, 1, (action(0, A, S, load),))).outcomes("l") == [{"value": 3}]


SAVE = Step("p", "storage.save", {"path": "c1", "state_dict": "$s"})
BUILD = Step("b", "model.build", {})
LOAD = Step("l", "storage.load", {"path": "c1", "state_dict": "$b"})


@pytest.fixture
def saves_and_loads():
    return Program(1, 1, 1, (action(0, A, S, SAVE), action(1, BUILD, LOAD)), later=(2,))


def test_each_phase_has_its_ranks(tmp_path, saves_and_loads):
    written(tmp_path / "phase-1", line("model.build", 1), line("model.state_dict", 2, model={"$ref": [0]}),
            line("storage.save", None, path="c1", state_dict={"$ref": [1]}))  # fmt: skip
    written(tmp_path / "phase-2", line("model.build", 5), line("storage.load", 6, path="c1", state_dict={"$ref": [0]}))
    recording = Recording(str(tmp_path), saves_and_loads)
    assert recording.outcomes("s") == [{"value": 2}]
    assert recording.outcomes("l") == [{"value": 6}, None]
    assert recording.pairs("l", "b") == [({"value": 6}, {"value": 5}), (None, None)]
    assert recording.pairs("l", "s") == [({"value": 6}, {"value": 2}), (None, {"value": 2})]


def test_a_phase_that_did_not_run_has_no_outcomes(tmp_path, saves_and_loads):
    written(tmp_path / "phase-1", {"op": "model.build", "args": {}, "outcome": {"error": {"kind": "ValueError"}}})
    recording = Recording(str(tmp_path), saves_and_loads)
    assert recording.outcomes("a") == [{"error": {"kind": "ValueError"}}]
    assert recording.outcomes("s") == [SKIPPED] and recording.outcomes("l") == [None, None]
