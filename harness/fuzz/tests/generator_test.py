"""Programs: the same for a seed everywhere, legal by construction, and different from each other."""

import json

import pytest
from shardcts_fuzz.generator import make_program
from shardcts_fuzz.known import Deviation, Known
from shardcts_fuzz.programs import SAVES, given_by, names_in, used_by
from shardcts_fuzz.streams import Stream
from shardcts_fuzz.trees import layout_class

WORLDS = [1, 2, 3]


def test_a_stream_is_the_same_on_any_machine():
    """By another program: printf "(1, 7, 'program', 3)/0" | b2sum, its words of 8 bytes from the last to the first."""
    stream = Stream(1, 7, "program", 3)
    assert [stream.below(1000) for _ in range(8)] == [150, 964, 29, 639, 560, 726, 337, 614]


def test_programs_depend_on_seed_and_number_alone():
    texts = [json.dumps(make_program(7, number, WORLDS).script()) for number in range(40)]
    again = [json.dumps(make_program(7, number, WORLDS).script()) for number in reversed(range(40))]
    assert texts == again[::-1]
    assert len(set(texts)) == 40
    assert texts != [json.dumps(make_program(8, number, WORLDS).script()) for number in range(40)]


@pytest.mark.parametrize("number", range(60))
def test_steps_use_results_of_earlier_ones(number):
    known = set()
    for step in make_program(11, number, WORLDS).steps():
        assert used_by(step) <= known, step
        assert step.let not in known
        known |= given_by(step)


@pytest.mark.parametrize("number", range(60))
def test_what_is_used_is_there(number):
    """The model of what is legal: no backward without a forward, no step without an optimizer, no load of another type."""
    program = make_program(12, number, WORLDS)
    made, outputs = set(), set()
    for step in program.steps():
        if step.op == "optimizer.create":
            made.add("$" + step.let)
        if step.op == "optimizer.step":
            assert step.args["optimizer"] in made
        if step.op == "model.forward":
            outputs.add("$" + step.let)
        if step.op == "model.backward":
            assert step.args["output"] in outputs
            outputs.remove(step.args["output"])


def test_relations_are_about_steps_of_the_program():
    for number in range(60):
        program = make_program(13, number, WORLDS)
        lets = {step.let for step in program.steps()}
        assert all(set(r.steps) <= lets for action in program.actions for r in action.relations)


def test_a_later_phase_loads_what_the_one_before_saved_and_uses_no_other_result():
    later = 0
    for number in range(80):
        program = make_program(12, number, WORLDS, features=["fully_shard", "fsdp", "training", "optimizer", "storage", "phases"])
        saved = set()
        for phase, (world, steps) in enumerate(program.phases()):
            assert world == (program.world, *program.later)[phase]
            lets = {step.let for step in steps}
            assert all(names_in(step.args) <= lets for step in steps)
            loads = {step.args["path"] for step in steps if step.op == "storage.load"}
            saved |= {step.args["path"] for step in steps if step.op in SAVES}
            assert loads <= saved and (phase == 0 or loads)
        later += len(program.later)
    assert later > 60


def test_a_program_with_a_load_that_is_refused_has_one_phase():
    programs = [make_program(13, number, WORLDS, features=["fully_shard", "illegal", "storage", "phases"]) for number in range(60)]
    refusing = [program for program in programs if any(action.name == "refuse" for action in program.actions)]
    assert refusing and not any(program.later for program in refusing)


def test_leaving_an_action_out_leaves_its_users_out():
    for number in range(30):
        program = make_program(14, number, WORLDS)
        for index in range(len(program.actions)):
            known = set()
            for step in program.without({index}).steps():
                assert used_by(step) <= known
                known |= given_by(step)


def test_half_of_the_programs_avoid_what_is_known():
    known = Known([Deviation("no fills", "*", "nowhere", {"action": ["fill"]}, {})])
    programs = [make_program(15, number, WORLDS, known, ["fully_shard", "filling"]) for number in range(60)]
    with_fill = sum(any(action.name == "fill" for action in program.actions) for program in programs)
    without = [make_program(15, number, WORLDS, None, ["fully_shard", "filling"]) for number in range(60)]
    assert 0 < with_fill < sum(any(action.name == "fill" for action in program.actions) for program in without)


@pytest.mark.parametrize("shape, world, expected", [([4, 2], 2, "even"), ([5], 2, "uneven"), ([1, 3], 2, "empty shard"),
                                                    ([0, 3], 2, "no elements"), ([], 2, "plain"), ([3], 1, "plain")])  # fmt: skip
def test_layout_classes(shape, world, expected):
    assert layout_class(shape, world) == expected


def test_what_is_given_is_whole_or_said_to_be_a_part():
    """A load of values that the program writes names every entry of the state dict, or is not strict."""
    seen = set()
    for number in range(60):
        program = make_program(16, number, WORLDS, features=["fully_shard", "given", "buffers", "batch_norm", "extra_state", "ties"])
        names = set()
        for action in program.actions:
            for step in action.steps:
                given = step.args.get("state_dict")
                if action.name != "load given" or not isinstance(given, dict):
                    continue
                whole = dict(action.tags)["partial"] is False
                strict = step.args.get("strict", step.args.get("options", {}).get("strict", True))
                assert strict is whole
                names = set(given) if whole else names
                seen.add((whole, any("running_mean" in name for name in given), any("_extra_state" in name for name in given)))
    assert len(seen) == 8


def test_values_that_are_given_are_checked_unless_tied_names_differ():
    for number in range(60):
        program = make_program(17, number, WORLDS, features=["fully_shard", "given", "ties"])
        for action in program.actions:
            if action.name == "load given":
                given = action.steps[0].args["state_dict"]
                ties = [tie for step in program.steps() if step.op == "model.build" for tie in step.args["args"].get("ties", [])]
                differ = any(given.get(first) != given.get(second) for first, second in ties)
                assert [relation.kind for relation in action.relations] == (["equal"] if differ else ["given", "equal"])
