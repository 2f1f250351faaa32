"""The distributed state-dict API: state dicts and options that do not fit.

Every case is one operation in a script; each rank must get the error that is listed, by kind and text, or none."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from conftest import read_json

WORLD = 2
SIZES = (4, 5, 3)  # uneven over two ranks in every parameter
NAMES = ("0.weight", "0.bias", "1.weight", "1.bias")
SHAPES = {"0.weight": [5, 4], "0.bias": [5], "1.weight": [3, 5], "1.bias": [3]}
FULL = {"full_state_dict": True}
BROADCAST = {"full_state_dict": True, "broadcast_from_rank0": True}


def filled(shape, value=7.0):
    """A tensor written in full."""
    count = 1
    for size in shape:
        count *= size
    data = base64.b64encode(struct.pack(f"<{count}f", *[value] * count)).decode()
    return {"$tensor": {"shape": list(shape), "dtype": "float32", "device": "cpu", "requires_grad": False,
                        "is_parameter": False, "data": data}}


def trained(name):
    """Steps that make a sharded model and its optimizer, and save both: `name`_state, `name`_optim."""
    model, optimizer = f"{name}_model", f"{name}_optimizer"
    arguments = {"model": f"${model}", "optimizers": [f"${optimizer}"]}
    return [{"op": "implementation.seed", "args": {"seed": 1}},
            {"let": model, "op": "model.build", "args": {"model": "linear_stack", "args": {"sizes": list(SIZES)}}},
            {"op": "model.wrap", "args": {"model": f"${model}", "path": "", "wrapper": "fully_shard"}},
            {"let": optimizer, "op": "optimizer.create", "args": {"model": f"${model}", "kind": "adam"}},
            {"let": f"{name}_state", "op": "dsd.get_model_state_dict", "args": {"model": f"${model}"}},
            {"let": f"{name}_optim", "op": "dsd.get_optimizer_state_dict", "args": arguments}]


def model_state(without=(), **further):
    return {name: f"$good_state.{name}" for name in NAMES if name not in without} | further


def whole_state(without=(), **further):
    return {name: filled(SHAPES[name]) for name in NAMES if name not in without} | further


def entry(name):
    return {state: f"$good_optim.state.{name}.{state}" for state in ("step", "exp_avg", "exp_avg_sq")}


def optimizer_state(without=(), groups="$good_optim.param_groups", **further):
    return {"state": {name: entry(name) for name in NAMES if name not in without} | further,
            **({} if groups is None else {"param_groups": groups})}


EMPTY = "model state_dict is empty"
NEEDS_FULL = "full_state_dict must be True when broadcast_from_rank0 is True"
# What dsd.set_model_state_dict is given, its options, and the error; None: no error.
MODEL_STATES = {
    "fits": (model_state(), {}, None),
    "a missing name": (model_state(without=["0.bias"]), {}, ("RuntimeError", "Missing key")),
    "a missing name, not strict": (model_state(without=["0.bias"]), {"strict": False}, None),
    "an unexpected name": (model_state(more=filled([2])), {}, ("RuntimeError", "Unexpected key")),
    "an unexpected name, not strict": (model_state(more=filled([2])), {"strict": False}, None),
    "nothing": ({}, {}, ("RuntimeError", EMPTY)),
    "nothing, not strict": ({}, {"strict": False}, None),
    "whole": (whole_state(), FULL, None),
    "whole, a missing name": (whole_state(without=["0.bias"]), FULL, None),
    "whole, an unexpected name": (whole_state(more=filled([2])), FULL, ("RuntimeError", "Unexpected key")),
    "broadcast": (whole_state(), BROADCAST, None),
    "broadcast, a missing name": (whole_state(without=["0.bias"]), BROADCAST, ("RuntimeError", "Missing key")),
    "broadcast of shards": (model_state(), {"broadcast_from_rank0": True}, ("ValueError", NEEDS_FULL)),
    "an unknown option": (model_state(), {"gather": True}, ("TypeError", "gather")),
}
OPTIMIZER_STATES = {
    "fits": (optimizer_state(), {}, None),
    "nothing": ({}, {}, ("RuntimeError", "optim state_dict is empty")),
    "no groups": (optimizer_state(groups=None), {}, ("KeyError", "param_groups")),
    "missing state": (optimizer_state(without=["0.bias"]), {},
                      ("RuntimeError", "Missing optimizer state for parameter '0.bias'")),
    "missing state, not strict": (optimizer_state(without=["0.bias"]), {"strict": False}, None),
    "state of an unknown parameter": (optimizer_state(more={"step": filled([])}), {}, None),
    "broadcast of shards": (optimizer_state(), {"broadcast_from_rank0": True}, ("ValueError", NEEDS_FULL)),
}


def script():
    """Steps, and for each that is judged the error."""
    steps = trained("good")
    expected = {}

    def judge(name, operation, arguments, error):
        steps.append({"let": name, "op": operation, "args": {"model": "$good_model", **arguments}})
        expected[name] = error

    for name, (given, options, error) in MODEL_STATES.items():
        judge(f"model: {name}", "dsd.set_model_state_dict", {"state_dict": given, "options": options}, error)
    optimizers = {"optimizers": ["$good_optimizer"]}
    for name, (given, options, error) in OPTIMIZER_STATES.items():
        judge(f"optimizer: {name}", "dsd.set_optimizer_state_dict",
              {**optimizers, "state_dict": given, "options": options}, error)
    judge("no optimizers", "dsd.get_optimizer_state_dict", {"optimizers": []}, ("RuntimeError", "not passed in"))
    judge("broadcast without full_state_dict", "dsd.get_model_state_dict",
          {"options": {"broadcast_from_rank0": True}}, ("ValueError", NEEDS_FULL))
    judge("the model can still be saved", "dsd.get_state_dict", optimizers, None)
    return steps, expected


@pytest.mark.parametrize("implementation", ["torch"])
def test_every_rank_gets_the_error_for_what_does_not_fit(shardcts, tmp_path, implementation):
    steps, expected = script()
    file = tmp_path / "script.json"
    file.write_text(json.dumps({"contract": 1, "world_size": WORLD, "steps": steps}))
    ended = shardcts("exec", file, "--impl", implementation, "--world", WORLD, "--out", tmp_path / implementation)
    assert ended.code in (0, 1), ended
    recorded = read_json(tmp_path / implementation / f"traces/{implementation}/script.json")["steps"]
    assert len(recorded) == len(steps), ended
    wrong = {}
    for step, record in zip(steps, recorded):
        if step.get("let") not in expected:
            assert not any("error" in outcome for outcome in record["outcomes"]), step
            continue
        error = expected[step["let"]]
        for rank, outcome in enumerate(record["outcomes"]):
            given = outcome.get("error")
            fits = given is None if error is None else given and given["kind"] == error[0] and error[1] in given["message"]
            if not fits:
                wrong[f"{step['let']}, rank {rank}"] = (error, given)
    assert not wrong
