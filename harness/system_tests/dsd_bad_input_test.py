"""The distributed state-dict API: state dicts, options and optimizers that do not fit.

Every case is one operation on a model and an optimizer of its own, of other values than the state dicts have. Each rank
must get the error that is listed, by kind and text, or none. Where an error comes before anything is loaded, model and
optimizer are as before; everywhere the reference leaves what PyTorch leaves."""

from __future__ import annotations

import base64
import json
import math
import struct

import pytest

from conftest import end_of, outcomes_of, start_shardcts

WORLD = 2
SIZES = (4, 5, 3)  # uneven over two ranks in every parameter
OTHER_SIZES = (4, 6, 3)
SHAPES = {"0.weight": [5, 4], "0.bias": [5], "1.weight": [3, 5], "1.bias": [3]}
FULL = {"full_state_dict": True}
BROADCAST = {"full_state_dict": True, "broadcast_from_rank0": True}
NOT_STRICT = {"strict": False}


def filled(shape, value=7.0):
    """A tensor written in full."""
    data = base64.b64encode(struct.pack(f"<{math.prod(shape)}f", *[value] * math.prod(shape))).decode()
    return {"$tensor": {"shape": list(shape), "dtype": "float32", "device": "cpu", "requires_grad": False,
                        "is_parameter": False, "data": data}}


def sharded_model(name, seed, sizes=SIZES):
    """Steps that make the model `name` and its optimizer, `name`_optimizer."""
    return [{"op": "implementation.seed", "args": {"seed": seed}},
            {"let": name, "op": "model.build", "args": {"model": "linear_stack", "args": {"sizes": list(sizes)}}},
            {"op": "model.wrap", "args": {"model": f"${name}", "path": "", "wrapper": "fully_shard"}},
            {"let": f"{name}_optimizer", "op": "optimizer.create", "args": {"model": f"${name}", "kind": "adam"}}]


def saved(name, sizes=SIZES):
    """Steps that save a model and an optimizer: `name`.model, `name`.optimizer."""
    return [*sharded_model(f"{name}_model", seed=1, sizes=sizes),
            {"let": name, "op": "dsd.get_state_dict",
             "args": {"model": f"${name}_model", "optimizers": [f"${name}_model_optimizer"]}}]


def model_state(without=(), **changed):
    return {name: f"$good.model.{name}" for name in SHAPES if name not in without} | changed


def whole_state(without=(), **changed):
    return {name: filled(shape) for name, shape in SHAPES.items() if name not in without} | changed


def entry(name, **changed):
    return {state: f"$good.optimizer.state.{name}.{state}" for state in ("step", "exp_avg", "exp_avg_sq")} | changed


def optimizer_state(without=(), groups="$good.optimizer.param_groups", **changed):
    return {"state": {name: entry(name) for name in SHAPES if name not in without} | changed,
            **({} if groups is None else {"param_groups": groups})}


def case(operation, error, untouched=False, by_rank=None, **arguments):
    """`error`: kind and part of the text, None for none, a dict where the implementations differ (docs/deviations.md).
    `untouched`: nothing was loaded. `by_rank`: for each rank the arguments that only it has."""
    return {"operation": operation, "error": error, "untouched": untouched, "arguments": arguments, "by_rank": by_rank}


def set_model(state_dict, options, error, **how):
    return case("set_model_state_dict", error, state_dict=state_dict, options=options, **how)


def set_optimizer(state_dict, options, error, optimizers=("own",), **how):
    return case("set_optimizer_state_dict", error, state_dict=state_dict, options=options, optimizers=optimizers, **how)


EMPTY = ("RuntimeError", "model state_dict is empty")
NEEDS_FULL = ("ValueError", "full_state_dict must be True when broadcast_from_rank0 is True")
MISSING = ("RuntimeError", "Missing key")
UNEXPECTED = ("RuntimeError", "Unexpected key")
SIZE_MISMATCH = ("RuntimeError", "size mismatch for 0.weight")
NO_TENSOR = ("RuntimeError", 'While copying the parameter named "0.weight", expected torch.Tensor')
MISSING_STATE = ("RuntimeError", "Missing optimizer state for parameter '0.bias'")
FOREIGN = ("KeyError", "")  # PyTorch's text is the parameter itself
MORE = {"more": filled([2])}
LARGER = {"0.weight": filled([6, 4])}
LARGER_SHARD = {"0.weight": "$other.model.0.weight"}
NO_BIAS = ["0.bias"]

MODELS = {
    "fits": set_model(model_state(), {}, None),
    "a missing name": set_model(model_state(NO_BIAS), {}, MISSING),
    "a missing name, not strict": set_model(model_state(NO_BIAS), NOT_STRICT, None),
    "an unexpected name": set_model(model_state(**MORE), {}, UNEXPECTED),
    "an unexpected name, not strict": set_model(model_state(**MORE), NOT_STRICT, None),
    "missing and unexpected names": set_model(model_state(NO_BIAS, **MORE), {}, UNEXPECTED),
    "another shape": set_model(model_state(**LARGER_SHARD), {}, SIZE_MISMATCH),
    "another shape, not strict": set_model(model_state(**LARGER_SHARD), NOT_STRICT, SIZE_MISMATCH),
    "of another model": set_model("$other.model", {}, SIZE_MISMATCH),
    "a plain tensor": set_model(model_state(**{"0.weight": filled([5, 4])}), {}, ("RuntimeError", '"0.weight"')),
    **{f"no tensor but {value}": set_model(model_state(**{"0.weight": value}), {}, NO_TENSOR)
       for value in (3, "x", None)},
    "nothing": set_model({}, {}, EMPTY, untouched=True),
    "nothing, not strict": set_model({}, NOT_STRICT, None, untouched=True),
    "whole": set_model(whole_state(), FULL, None),
    "whole, a missing name": set_model(whole_state(NO_BIAS), FULL, {"torch": None, "reference": MISSING}),
    "whole, an unexpected name": set_model(whole_state(**MORE), FULL, UNEXPECTED),
    "whole, another shape": set_model(whole_state(**LARGER), FULL, SIZE_MISMATCH),
    "whole, another number of dimensions": set_model(whole_state(**{"0.weight": filled([20])}), FULL, SIZE_MISMATCH),
    "whole, no tensor": set_model(whole_state(**{"0.weight": 3}), FULL, NO_TENSOR),
    "whole, nothing": set_model({}, FULL, EMPTY, untouched=True),
    "shards as whole tensors": set_model(model_state(), FULL, None),
    "broadcast": set_model(whole_state(), BROADCAST, None),
    "broadcast, a missing name": set_model(whole_state(NO_BIAS), BROADCAST, MISSING),
    "broadcast, a missing name, not strict": set_model(whole_state(NO_BIAS), {**BROADCAST, **NOT_STRICT}, None),
    "broadcast, an unexpected name": set_model(whole_state(**MORE), BROADCAST, UNEXPECTED),
    "broadcast, no tensor": set_model(whole_state(**{"0.weight": 3}), BROADCAST, NO_TENSOR),
    "broadcast, nothing": set_model({}, BROADCAST, MISSING, untouched=True),
    "broadcast of shards": set_model(model_state(), {"broadcast_from_rank0": True}, NEEDS_FULL, untouched=True),
    "saved for a broadcast of shards": case("get_model_state_dict", NEEDS_FULL, options={"broadcast_from_rank0": True}),
}
OPTIMIZERS = {
    "fits": set_optimizer(optimizer_state(), {}, None),
    "nothing": set_optimizer({}, {}, ("RuntimeError", "optim state_dict is empty")),
    "no groups": set_optimizer(optimizer_state(groups=None), {}, ("KeyError", "param_groups")),
    "groups without params": set_optimizer(optimizer_state(groups=[{"lr": 1.0}]), {}, ("KeyError", "params")),
    "missing state": set_optimizer(optimizer_state(NO_BIAS), {}, MISSING_STATE),
    "missing state, not strict": set_optimizer(optimizer_state(NO_BIAS), NOT_STRICT, None),
    "state of an unknown parameter": set_optimizer(optimizer_state(more={"step": filled([])}), {}, None),
    "a moment of another shape": set_optimizer(
        optimizer_state(**{"0.weight": entry("0.weight", exp_avg="$other.optimizer.state.0.weight.exp_avg")}),
        {}, {"torch": None, "reference": ("ValueError", "another shape")}),
    "broadcast of shards": set_optimizer(optimizer_state(), {"broadcast_from_rank0": True}, NEEDS_FULL),
    "of another model": set_optimizer(optimizer_state(), {}, FOREIGN, optimizers=("foreign",)),
    "of another model, not strict": set_optimizer(optimizer_state(), NOT_STRICT, FOREIGN, optimizers=("foreign",)),
    "of another model, saved": case("get_optimizer_state_dict", FOREIGN, optimizers=("foreign",)),
    "of another model, saved with the model": case("get_state_dict", FOREIGN, optimizers=("foreign",)),
    "of another model, loaded with the model": case(
        "set_state_dict", FOREIGN, optimizers=("foreign",), model_state_dict=model_state(),
        optimizer_state_dict=optimizer_state(), untouched=True),
    "none": case("get_optimizer_state_dict", ("RuntimeError", "not passed in"), optimizers=()),
}
WITHOUT_ANSWER = ("RuntimeError", "")
FULL_ON_RANK_0 = ("RuntimeError", "full_state_dict is true on rank 0, false on rank 1")
# What only one rank has wrong, or has otherwise. PyTorch's ranks wait for each other in some of these.
RANKS_DIFFER = {
    "full_state_dict": case("get_model_state_dict", FULL_ON_RANK_0,
                            by_rank=[{"options": FULL}, {"options": {}}]),
    "full_state_dict of the optimizer": case(
        "get_optimizer_state_dict", FULL_ON_RANK_0,
        optimizers=("own",), by_rank=[{"options": FULL}, {"options": {}}]),
    "broadcast on rank 0": set_model(whole_state(), None, ("RuntimeError", "broadcast_from_rank0 is true on rank 0"),
                                     by_rank=[{"options": BROADCAST}, {"options": FULL}], untouched=True),
    "broadcast on rank 1": set_model(whole_state(), None, ("RuntimeError", "broadcast_from_rank0 is false on rank 0"),
                                     by_rank=[{"options": FULL}, {"options": BROADCAST}], untouched=True),
    "broadcast of shards": set_model(whole_state(), None, [WITHOUT_ANSWER, NEEDS_FULL], untouched=True,
                                     by_rank=[{"options": BROADCAST}, {"options": {"broadcast_from_rank0": True}}]),
    "broadcast of another shape": set_model(None, BROADCAST, SIZE_MISMATCH,
                                            by_rank=[{"state_dict": whole_state(**LARGER)}, {"state_dict": {}}]),
    "shards for a broadcast": set_model(None, BROADCAST, ("RuntimeError", '"0.weight" is in pieces'), untouched=True,
                                        by_rank=[{"state_dict": model_state()}, {"state_dict": {}}]),
    "missing state": set_optimizer(
        None, {}, [("RuntimeError", "rank 1: Missing optimizer state"), MISSING_STATE],
        by_rank=[{"state_dict": optimizer_state()}, {"state_dict": optimizer_state(NO_BIAS)}]),
}


def steps_of(model, name, tried):
    """A model of the case's own, the operation, and what is there afterwards."""
    optimizers = {"own": f"${model}_optimizer", "foreign": "$other_model_optimizer"}
    common = {"model": f"${model}", **{key: value for key, value in tried["arguments"].items() if value is not None}}
    if "optimizers" in common:
        common["optimizers"] = [optimizers[which] for which in common["optimizers"]]
    by_rank = tried["by_rank"]
    arguments = {"args_by_rank": [{**common, **own} for own in by_rank]} if by_rank else {"args": common}
    return [*sharded_model(model, seed=2),
            {"let": f"call {name}", "op": f"dsd.{tried['operation']}", **arguments},
            {"let": f"model after {name}", "op": "model.state_dict", "args": {"model": f"${model}"}},
            {"let": f"optimizer after {name}", "op": "optimizer.state_dict",
             "args": {"optimizer": f"${model}_optimizer"}}]


def run(implementation, folder, cases):
    """The outcomes of all ranks by the name of the step."""
    steps = [*saved("good"), *saved("other", OTHER_SIZES), *sharded_model("untouched_model", seed=2),
             {"let": "untouched", "op": "model.state_dict", "args": {"model": "$untouched_model"}}]
    for index, (name, tried) in enumerate(cases.items()):
        steps += steps_of(f"model_{index}", name, tried)
    return outcomes_of(lambda *words: end_of(start_shardcts(*words, cwd=folder), 150), folder, implementation, steps)


def errors_that_differ(cases, outcomes, implementation):
    """{case and rank: (expected, actual)} of the errors that are not those listed."""
    wrong = {}
    for name, tried in cases.items():
        error = tried["error"][implementation] if isinstance(tried["error"], dict) else tried["error"]
        for rank, outcome in enumerate(outcomes[f"call {name}"]):
            expected = error[rank] if isinstance(error, list) else error
            actual = outcome.get("error")
            fits = actual is None if expected is None else (
                actual is not None and actual["kind"] == expected[0] and expected[1] in actual["message"])
            if not fits:
                wrong[f"{name}, rank {rank}"] = (expected, actual)
    return wrong


def text_of(outcomes):
    return json.dumps(outcomes)


def touched(cases, outcomes):
    """Those of which something was loaded although nothing should be."""
    return [name for name, tried in cases.items()
            if tried["untouched"] and text_of(outcomes[f"model after {name}"]) != text_of(outcomes["untouched"])]


CASES = {f"model: {name}": tried for name, tried in MODELS.items()} | {
    f"optimizer: {name}": tried for name, tried in OPTIMIZERS.items()}


# A save or a failed load makes no state on the reference, and without strict a parameter whose state is missing keeps
# its own in every form (docs/deviations.md).
LEFT_OTHERWISE = [f"optimizer after optimizer: {name}" for name in (
    "no groups", "groups without params", "missing state", "missing state, not strict", "a moment of another shape")]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of every case, by implementation."""
    return {implementation: run(implementation, tmp_path_factory.mktemp(implementation), CASES)
            for implementation in ("torch", "reference")}


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_every_rank_gets_the_error_for_what_does_not_fit(outcomes, implementation):
    assert errors_that_differ(CASES, outcomes[implementation], implementation) == {}
    assert touched(CASES, outcomes[implementation]) == []


def test_the_reference_leaves_what_pytorch_leaves(outcomes):
    differing = [after for name in CASES for after in (f"model after {name}", f"optimizer after {name}")
                 if text_of(outcomes["reference"][after]) != text_of(outcomes["torch"][after])]
    assert differing == LEFT_OTHERWISE


def test_ranks_that_differ_all_come_back(tmp_path):
    outcomes = run("reference", tmp_path, RANKS_DIFFER)
    assert errors_that_differ(RANKS_DIFFER, outcomes, "reference") == {}
    assert touched(RANKS_DIFFER, outcomes) == []
