"""The programs of a seed: the same for any order of asking, steered by those before, legal also when made of parts."""

import json

import pytest
from shardcts_fuzz.coverage import Coverage
from shardcts_fuzz.draws import Draws
from shardcts_fuzz.generator import Generator, make_program
from shardcts_fuzz.programs import given_by, used_by
from shardcts_fuzz.sequence import BLOCK, Programs
from shardcts_fuzz.streams import Stream

WORLDS = [1, 2, 3]


def text(program):
    return json.dumps(program.script())


def pairs_of(programs):
    coverage = Coverage()
    for program in programs:
        coverage.add(program)
    return coverage


def test_a_program_alone_is_that_of_the_sequence():
    made = Programs(7, WORLDS)
    texts = [text(made.make(number)) for number in range(60)]
    assert text(Programs(7, WORLDS).make(43)) == texts[43]
    assert text(made.make(12)) == texts[12]  # backwards
    assert len(set(texts)) == 60
    assert texts != [text(Programs(8, WORLDS).make(number)) for number in range(60)]


def test_a_block_knows_nothing_of_the_one_before():
    made = Programs(7, WORLDS)
    made.make(BLOCK - 1)
    assert text(made.make(BLOCK)) == text(Programs(7, WORLDS).make(BLOCK))


def pairs_of_steered(seed, steered):
    covered = Coverage()
    for number in range(120):
        covered.add(Generator(seed, number, WORLDS, covered=covered if steered else None).make())
    return len(covered.pairs)


def test_what_is_rare_comes_sooner():
    """Programs that are steered have more pairs than as many that are not."""
    plain, steered = (sum(pairs_of_steered(seed, on) for seed in (3, 4, 5)) for on in (False, True))
    assert steered > 1.03 * plain


@pytest.mark.parametrize("seed", [21, 22])
def test_steps_of_mutated_programs_use_results_of_earlier_ones(seed):
    made = Programs(seed, WORLDS)
    for number in range(150):
        known = set()
        for step in made.make(number).steps():
            assert used_by(step) <= known, step
            assert step.let not in known
            known |= given_by(step)


def test_draws_are_repeated_and_then_new():
    first = Draws(Stream("a"))
    values = [first.below(10), first.chance(0.5), first.weighted({"x": 1, "none": 0, "y": 5}), first.subset([1, 2, 3])]
    again = Draws(Stream("b"), first.drawn)
    assert [again.below(10), again.chance(0.5), again.weighted({"x": 1, "none": 0, "y": 5}), again.subset([1, 2, 3])] == values
    assert not again.repeats
    assert [again.below(1000) for _ in range(4)] == [Stream("b").below(1000) for _ in range(1)] + again.drawn[-3:]


def test_what_does_not_fit_any_more_is_a_legal_choice():
    assert Draws(Stream("a"), [17]).below(5) == 2
    assert Draws(Stream("a"), [17]).weighted({"x": 1, "none": 0, "y": 1}) == "y"
    assert Draws(Stream("a"), [17]).chance(0.0) is True


def test_weights_prefer_what_was_never_tried():
    coverage = pairs_of([make_program(3, number, WORLDS, features=["fully_shard"]) for number in range(40)])
    present = [("wrapper", "fully_shard"), ("state", "fresh")]
    weights = coverage.prefer("form", {"dsd": 2, "never": 2, "dsd full": 2}, present)
    assert weights["never"] == 16
    assert weights["dsd"] < 5 and weights["dsd full"] < 5
    assert coverage.prefer("form", {"dsd": 2}, []) == {"dsd": 2}


def test_options_are_counted_with_their_operation_and_its_wrapper():
    coverage = pairs_of([make_program(3, number, WORLDS, features=["fully_shard"]) for number in range(40)])
    assert (("option", "dsd.get_model_state_dict options.full_state_dict=True"), ("wrapper", "fully_shard")) in coverage.pairs
    contract = {"dsd.get_model_state_dict": ["model", "options.full_state_dict", "options.strict"], "model.copy": ["model"]}
    assert coverage.never_of(contract) == (["model.copy"], ["dsd.get_model_state_dict options.strict"])
