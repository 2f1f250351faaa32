"""FSDP1 and load_state_dict(assign=True), on PyTorch and on the reference.

A unit keeps its parameters in one of its own, so they cannot be replaced. PyTorch replaces them for a moment and loses
them: the load succeeds, and the model has its old values (docs/deviations.md). On the reference they take the values.
What no unit manages is replaced on both."""

from __future__ import annotations

import base64
import struct

import pytest

from conftest import content_of, outcomes_of

SIZES = (4, 5, 3)  # uneven over two ranks in every parameter
NAMES = ["0.weight", "0.bias", "1.weight", "1.bias"]
ORIG = {"use_orig_params": True}
ON_A_MESH = {"device_mesh": "$mesh"}
NO_SHARD = {"sharding_strategy": "NO_SHARD"}
WHOLE = {"full_state_dict": True}
INPUT = {"$tensor": {"shape": [2, 4], "dtype": "float32", "device": "cpu", "requires_grad": False,
                     "is_parameter": False, "data": base64.b64encode(struct.pack("<8f", *range(8))).decode()}}

# How units save and load: the type of state dict, the options of the wrapper.
KINDS = {"FULL": ("FULL", {}), "FULL, use_orig_params": ("FULL", ORIG),
         "SHARDED": ("SHARDED", {}), "SHARDED, use_orig_params": ("SHARDED", ORIG),
         "SHARDED, on a mesh": ("SHARDED", ON_A_MESH),
         "SHARDED, on a mesh, use_orig_params": ("SHARDED", ON_A_MESH | ORIG),
         "LOCAL": ("LOCAL", {}), "NO_SHARD": ("FULL", NO_SHARD), "NO_SHARD, use_orig_params": ("FULL", NO_SHARD | ORIG)}
LOADED_BY_PYTORCH = {"NO_SHARD, use_orig_params"}


def step(label, operation, **arguments):
    return {"let": label, "op": operation, "args": arguments}


def model(name, seed, paths=("0", ""), options=None):
    """Steps that make `name`, with units at these paths."""
    return [step(f"seed {name}", "implementation.seed", seed=seed),
            step(name, "model.build", model="linear_stack", args={"sizes": list(SIZES)}),
            *(step(f"wrap {name} {path}", "model.wrap", model=f"${name}", path=path, wrapper="fsdp",
                   options=options or {}) for path in paths)]


def show(label, name):
    """Steps that show all parameters, whole, under original names."""
    return [step(f"kind {label}", "fsdp.set_state_dict_type", model=f"${name}", type="FULL"),
            step(label, "model.state_dict", model=f"${name}")]


def saved(name, seed=1, paths=("0", ""), kind="FULL", options=None):
    """Steps that make the state dict `name` of a model of its own."""
    return [*model(f"{name}_model", seed, paths, options),
            step(f"kind {name}", "fsdp.set_state_dict_type", model=f"${name}_model", type=kind),
            step(name, "model.state_dict", model=f"${name}_model")]


def train(name):
    """Steps of one training step of `name`, with an optimizer that was made before the load."""
    return [step(f"output {name}", "model.forward", model=f"${name}", inputs=[INPUT]),
            step(f"backward {name}", "model.backward", model=f"${name}", output=f"$output {name}"),
            step(f"step {name}", "optimizer.step", optimizer=f"$optimizer_{name}"),
            step(f"parameters after step {name}", "model.parameters", model=f"${name}"), *show(f"trained {name}", name)]


def load(name, kind, options, given, assign=True):
    """Steps that make `name` and its optimizer, load, and show the model before it computes again."""
    return [*model(name, seed=2, options=options),
            step(f"optimizer_{name}", "optimizer.create", model=f"${name}", kind="sgd", options={"lr": 0.5}),
            step(f"kind to load {name}", "fsdp.set_state_dict_type", model=f"${name}", type=kind),
            step(f"load {name}", "model.load_state_dict", model=f"${name}", state_dict=given, assign=assign),
            step(f"parameters {name}", "model.parameters", model=f"${name}"), *show(f"after {name}", name)]


MESH = [step("mesh", "mesh.init", shape=[2])]
BOTH = [*saved("new"), *saved("old", seed=2)]  # whole values of the state dict, and of the model that loads it


def values(outcomes):
    """By rank the contents of a dict of tensors."""
    return [{name: content_of(entry) for name, entry in outcome["value"].items()} for outcome in outcomes]


def assert_succeeded(outcomes):
    assert [outcome["value"] for outcome in outcomes] == [{"missing_keys": [], "unexpected_keys": []}] * 2


@pytest.mark.parametrize("case", KINDS)
def test_the_reference_loads_and_trains_as_without_assign(shardcts, tmp_path, case):
    kind, options = KINDS[case]
    steps = [*MESH, *BOTH, *saved("given", kind=kind, options=options)]
    for name, assign in (("assigned", True), ("copied", False)):
        steps += [*load(name, kind, options, "$given", assign), *train(name)]
    outcomes = outcomes_of(shardcts, tmp_path, "reference", steps)
    assert_succeeded(outcomes["load assigned"])
    assert values(outcomes["after assigned"]) == values(outcomes["new"])
    for what in ("parameters", "parameters after step", "trained"):
        assert values(outcomes[f"{what} assigned"]) == values(outcomes[f"{what} copied"])
    assert values(outcomes["trained assigned"]) != values(outcomes["new"])


def test_pytorch_reports_success_and_loads_nothing(shardcts, tmp_path):
    steps = [*MESH, *BOTH]
    for index, (kind, options) in enumerate(KINDS.values()):
        steps += [*saved(f"given{index}", kind=kind, options=options),
                  *load(f"model{index}", kind, options, f"$given{index}")]
    outcomes = outcomes_of(shardcts, tmp_path, "torch", steps)
    for index, case in enumerate(KINDS):
        assert_succeeded(outcomes[f"load model{index}"])
        expected = "new" if case in LOADED_BY_PYTORCH else "old"
        assert values(outcomes[f"after model{index}"]) == values(outcomes[expected]), case


def test_on_pytorch_parameters_show_a_local_load_that_the_model_does_not_have(shardcts, tmp_path):
    steps = [*saved("given", kind="LOCAL"), *load("model", "LOCAL", {}, "$given"),
             step("parameters given", "model.parameters", model="$given_model"), *BOTH]
    outcomes = outcomes_of(shardcts, tmp_path, "torch", steps)
    assert values(outcomes["parameters model"]) == values(outcomes["parameters given"])
    assert values(outcomes["after model"]) == values(outcomes["old"])


# What the unit at "0" has after a load, and the rest, which no unit manages.
WITHOUT_THE_UNIT = {"reference": ["new"] * 4, "torch": ["old", "old", "new", "new"]}


def sources(outcomes, label):
    """By name which of the two dicts a value is from, or "other"; alike on both ranks."""
    rank0, rank1 = values(outcomes[label])
    assert rank0 == rank1 and list(rank0) == NAMES
    known = {digest: source for source in ("old", "new") for digest in values(outcomes[source])[0].values()}
    return [known.get(digest, "other") for digest in rank0.values()]


@pytest.mark.parametrize("options", [{}, ORIG], ids=["flat", "use_orig_params"])
@pytest.mark.parametrize("implementation", WITHOUT_THE_UNIT)
def test_what_no_unit_manages_is_replaced(shardcts, tmp_path, implementation, options):
    steps = [*BOTH, step("given", "tensor.clone", value="$new"), *model("target", 2, ["0"], options),
             step("load", "model.load_state_dict", model="$target", state_dict="$given", assign=True),
             step("after", "model.state_dict", model="$target"),
             step("fill", "tensor.fill", value="$given", scalar=7.0),
             step("filled", "model.state_dict", model="$target")]
    outcomes = outcomes_of(shardcts, tmp_path, implementation, steps)
    assert_succeeded(outcomes["load"])
    assert sources(outcomes, "after") == WITHOUT_THE_UNIT[implementation]
    assert sources(outcomes, "filled") == [*WITHOUT_THE_UNIT[implementation][:2], "other", "other"]


@pytest.mark.parametrize("options", [{}, ORIG], ids=["flat", "use_orig_params"])
@pytest.mark.parametrize("implementation", WITHOUT_THE_UNIT)
def test_a_distributed_load_assigns_where_something_is_on_meta(shardcts, tmp_path, implementation, options):
    steps = [*BOTH, *model("target", 2, ["0"], options),
             step("to meta", "model.to", model="$target", path="1", device="meta"),
             step("load", "dsd.set_model_state_dict", model="$target", state_dict="$new", options=WHOLE),
             step("after", "dsd.get_model_state_dict", model="$target", options=WHOLE)]
    outcomes = outcomes_of(shardcts, tmp_path, implementation, steps)
    assert_succeeded(outcomes["load"])
    assert sources(outcomes, "after") == WITHOUT_THE_UNIT[implementation]


@pytest.mark.parametrize("options", [{}, ORIG], ids=["flat", "use_orig_params"])
@pytest.mark.parametrize("implementation, expected", [("reference", "new"), ("torch", "old")])
def test_within_summon_full_params(shardcts, tmp_path, implementation, expected, options):
    steps = [*BOTH, *model("target", 2, options=options),
             step("scope", "fsdp.summon_full_params", model="$target"),
             step("load", "model.load_state_dict", model="$target", state_dict="$new", assign=True),
             step("within", "model.parameters", model="$target"), step("exit", "scope.exit", scope="$scope"),
             *show("after", "target")]
    outcomes = outcomes_of(shardcts, tmp_path, implementation, steps)
    assert values(outcomes["within"]) == values(outcomes["new"])
    assert values(outcomes["after"]) == values(outcomes[expected])


def error(outcomes):
    return [{**outcome["error"], "message": outcome["error"]["message"].replace("_fsdp_wrapped_module.", "")}
            for outcome in outcomes]


@pytest.mark.parametrize("kind", ["FULL", "SHARDED"])
@pytest.mark.parametrize("options", [{}, ORIG], ids=["flat", "use_orig_params"])
def test_errors_are_those_of_pytorch_and_what_fits_is_loaded(shardcts, tmp_path, kind, options):
    missing = {name: f"$given.{name}" for name in NAMES if name != "0.bias"}
    wrong = {name: f"$given.{name}" for name in NAMES} | {"0.bias": "$given.1.bias"}
    steps = [*BOTH, *saved("given", kind=kind, options=options)]
    for name, given in {"missing": missing, "wrong shape": wrong}.items():
        steps += load(name, kind, options, given)
    actual = outcomes_of(shardcts, tmp_path, "reference", steps)
    expected = outcomes_of(shardcts, tmp_path, "torch", steps)
    for name in ("missing", "wrong shape"):
        assert error(actual[f"load {name}"]) == error(expected[f"load {name}"])
        assert sources(actual, f"after {name}") == ["new", "old", "new", "new"]
        assert sources(expected, f"after {name}") == ["old"] * 4
