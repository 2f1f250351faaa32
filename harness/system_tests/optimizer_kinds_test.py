"""Optimizers of every kind: the reference's update rules give PyTorch's bits, of plain and of sharded parameters.

One script builds, for each kind with some options, a model from a description, trains it and reads state and
parameters; all outcomes of the reference and of PyTorch are the same."""

from __future__ import annotations

import pytest

from conftest import outcomes_of

# Options that change the update; the first of each kind are the defaults.
CASES = {
    "sgd": [{}, {"lr": 0.25, "momentum": 0.5, "dampening": 0.25, "weight_decay": 0.125},
            {"momentum": 0.5, "nesterov": True, "maximize": True}],
    "adam": [{}, {"amsgrad": True, "weight_decay": 0.1, "beta1": 0.5, "maximize": True}],
    "adamw": [{}, {"amsgrad": True, "lr": 0.1}],
    "adagrad": [{}, {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True}],
    "rmsprop": [{}, {"centered": True, "momentum": 0.5, "weight_decay": 0.1}],
    "nadam": [{}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "radam": [{}, {"beta2": 0.75, "weight_decay": 0.1, "maximize": True}],
    "asgd": [{}, {"lambd": 0.1, "t0": 1, "weight_decay": 0.1}],
    "adamax": [{}, {"weight_decay": 0.1, "maximize": True}],
    "adadelta": [{}, {"rho": 0.5, "weight_decay": 0.1}],
    "nested_state": [{}],
    "global_state": [{}],
}
TENSOR_RATES = ["sgd", "adam", "adamw", "adagrad", "rmsprop", "nadam", "radam", "asgd", "adamax", "adadelta"]
RATE = {"$tensor": {"shape": [], "dtype": "float32", "device": "cpu", "requires_grad": False, "is_parameter": False,
                    "data": "zczMPQ=="}}  # 0.1
TREE = {"root": {"kind": "linear", "out": 3, "parameters": {"extra": {"shape": [5]}, "scale": {"shape": [3, 2]}}},
        "in": 4, "values": "random"}
STEPS = 6  # RAdam rectifies from the sixth on


def training(name: str, kind: str, options: dict, wrapper: str | None) -> list[dict]:
    model, optimizer = f"${name}", f"${name} optimizer"
    steps = [{"let": name, "op": "model.build", "args": {"model": "tree", "args": TREE}}]
    if wrapper:
        steps.append({"op": "model.wrap", "args": {"model": model, "path": "", "wrapper": wrapper}})
    steps.append({"let": f"{name} optimizer", "op": "optimizer.create",
                  "args": {"model": model, "kind": kind, "options": options}})
    for step in range(STEPS):
        output = f"{name} output {step}"
        steps += [{"op": "model.zero_grad", "args": {"model": model}},
                  {"let": output, "op": "model.forward", "args": {"model": model, "inputs": ["$input"]}},
                  {"op": "model.backward", "args": {"model": model, "output": f"${output}"}},
                  {"op": "optimizer.step", "args": {"optimizer": optimizer}}]
    return steps + [{"op": "optimizer.state_dict", "args": {"optimizer": optimizer}},
                    {"op": "model.parameters", "args": {"model": model}}]


def compared(shardcts, tmp_path, cases: list[tuple[str, dict]]) -> None:
    steps = [{"op": "implementation.seed", "args": {"seed": 3}},
             {"let": "input holder", "op": "model.build",
              "args": {"model": "tree", "args": {"root": {"kind": "bare", "buffers": {"x": {"shape": [2, 4]}}},
                                                 "values": "random"}}},
             {"let": "inputs", "op": "model.buffers", "args": {"model": "$input holder"}},
             {"let": "input", "op": "tensor.clone", "args": {"value": "$inputs.x"}}]
    for index, (kind, options) in enumerate(cases):
        for wrapper in (None, "fully_shard"):
            steps += training(f"{kind} {index} {wrapper}", kind, options, wrapper)
    reference, torch = (outcomes_of(shardcts, tmp_path / name, name, steps) for name in ("reference", "torch"))
    assert reference == torch


@pytest.mark.parametrize("kind", list(CASES))
def test_every_option_gives_the_bits_of_pytorch(shardcts, tmp_path, kind):
    compared(shardcts, tmp_path, [(kind, options) for options in CASES[kind]])


def test_a_learning_rate_may_be_a_tensor(shardcts, tmp_path):
    compared(shardcts, tmp_path, [(kind, {"lr": RATE}) for kind in TENSOR_RATES])
