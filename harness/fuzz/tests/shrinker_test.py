"""The shrinker finds the smallest program of a planted bug; no implementation runs."""

from dataclasses import dataclass, replace

import pytest
from shardcts_fuzz.findings import Finding
from shardcts_fuzz.generator import make_program
from shardcts_fuzz.shrinker import shrink


@dataclass
class Group:
    finding: object
    program: object
    shrunk: bool = False
    stable: str = ""


FINDING = Finding("rule", "planted", "LO10", "load", "model.fill", "bits", "", "")


def ops(program):
    return [step.op for step in program.steps()]


def two_fills(program):
    """Shows with two fills of a model that is wrapped by fsdp."""
    wrapped = any(step.op == "model.wrap" and step.args["wrapper"] == "fsdp" for step in program.steps())
    fills = [step for step in program.steps() if step.op == "model.fill" and step.args["model"] == "$m"]
    return wrapped and len(fills) >= 2


def uneven(program):
    """Shows with a get of a model with two rows or more in a layer, on two ranks or more."""
    rows = max([_rows(step.args["args"]["root"]) for step in program.steps() if step.op == "model.build"], default=0)
    return "model.state_dict" in ops(program) and program.world >= 2 and rows >= 2


def _rows(module):
    return max([module.get("out", 0), *[_rows(child) for child in module.get("children", {}).values()]])


def shrunk(bug, features):
    """The programs of the first groups in which the bug shows."""
    groups = []
    for number in range(400):
        program = make_program(3, number, [1, 2, 3], features=features)
        if bug(program):
            groups.append(Group(FINDING, program))
    assert groups
    groups = groups[:6]
    shrink(groups, lambda wanted: [replace(FINDING) if bug(program) else None for _, program in wanted], 60)
    return groups


def test_a_planted_bug_of_four_steps_shrinks_to_them():
    for group in shrunk(two_fills, ["fsdp", "filling", "training", "optimizer", "reading", "types"]):
        assert sorted(ops(group.program)) == ["model.build", "model.fill", "model.fill", "model.wrap"]
        assert group.program.world == 1
        assert group.stable == "3 of 3 runs"


def test_a_planted_bug_of_sizes_shrinks_to_the_smallest():
    for group in shrunk(uneven, ["fully_shard", "buffers", "parameters", "training", "optimizer"]):
        assert sorted(ops(group.program)) == ["model.build", "model.state_dict"]
        assert group.program.world == 2
        assert _rows(group.program.steps()[0].args["args"]["root"]) == 2


def test_a_program_whose_steps_succeed_does_not_become_one_in_which_one_fails():
    program = next(program for number in range(400) if two_fills(program := make_program(
        3, number, [2, 3], features=["fsdp", "filling", "training", "optimizer", "reading", "types"])))  # fmt: skip
    for legal, least in ((True, 2), (False, 1)):
        group = Group(replace(FINDING, legal=legal), program)
        shrink([group], lambda wanted, legal=legal: [
            replace(FINDING, legal=legal and one.world > 1) if two_fills(one) else None for _, one in wanted], 60)  # fmt: skip
        assert group.program.world == least


def test_what_shows_only_sometimes_is_said_to():
    program = make_program(3, 0, [1])
    group, calls = Group(FINDING, program), []

    def find(wanted):
        calls.append(len(wanted))
        return [None] * (len(wanted) - 1) + [FINDING] if len(calls) > 1 else [None] * len(wanted)

    shrink([group], find, 0)
    assert group.stable in ("0 of 3 runs", "1 of 3 runs")


@pytest.mark.parametrize("number", range(20))
def test_shrinking_never_makes_a_program_larger(number):
    program = make_program(4, number, [2])
    group = Group(FINDING, program)
    shrink([group], lambda wanted: [FINDING] * len(wanted), 20)
    assert len(group.program.steps()) <= 1


def loads_elsewhere(program):
    """Shows with a load in a later phase, by more ranks than one."""
    phases = program.phases()
    return len(phases) > 1 and phases[1][0] > 1 and "storage.load" in [step.op for step in phases[1][1]]


def test_a_load_in_a_later_phase_keeps_its_save():
    for group in shrunk(loads_elsewhere, ["fully_shard", "storage", "phases", "reading", "filling"]):
        first, second = group.program.phases()
        assert [step.op for step in first[1]] == ["model.build", "dsd.get_model_state_dict", "storage.save"]
        assert {"model.build", "dsd.get_model_state_dict", "storage.load"} <= {step.op for step in second[1]}
        assert len(group.program.steps()) <= 8
        assert (first[0], second[0]) == (1, 2)
