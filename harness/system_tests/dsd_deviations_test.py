"""Where PyTorch's distributed state-dict functions do something else than they say (docs/deviations.md): both sides.

The first part runs one script on PyTorch and on the reference. The second looks at what the adapter hides, with PyTorch
alone: it gives PyTorch copies of dicts, and shows names without wrappers."""

from __future__ import annotations

import base64
import json
import math
import struct

import pytest

from conftest import content_of, end_of, outcomes_of, start_shardcts

SIZES = (4, 5, 3)  # uneven over two ranks in every parameter
SHAPES = {"0.weight": [5, 4], "0.bias": [5], "1.weight": [3, 5], "1.bias": [3]}
FULL = {"full_state_dict": True}
BROADCAST = {"full_state_dict": True, "broadcast_from_rank0": True}
NOT_STRICT = {"strict": False}
SGD_OPTIONS = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "foreach", "differentiable",
               "fused")


def tensor(shape, numbers):
    """A tensor written in full."""
    data = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return {"$tensor": {"shape": list(shape), "dtype": "float32", "device": "cpu", "requires_grad": False,
                        "is_parameter": False, "data": data}}


def filled(shape, number):
    return tensor(shape, [number] * math.prod(shape))


def whole(value=7.0, without=(), **further):
    return {name: filled(shape, value) for name, shape in SHAPES.items() if name not in without} | further


def model(name, wrapper="fully_shard"):
    """Steps that make a model of ones."""
    return [{"let": name, "op": "model.build", "args": {"model": "linear_stack", "args": {"sizes": list(SIZES)}}},
            {"op": "model.fill", "args": {"model": f"${name}", "value": 1.0}},
            {"op": "model.wrap", "args": {"model": f"${name}", "path": "", "wrapper": wrapper}}]


def load(name, *given, options, wrapper="fully_shard"):
    """Steps that load `given`, a dict for all ranks or one for each, and show the model afterwards."""
    arguments = [{"model": f"${name}", "state_dict": entries, "options": options} for entries in given]
    by_rank = {"args_by_rank": arguments} if len(given) > 1 else {"args": arguments[0]}
    return [*model(name, wrapper), {"let": f"load {name}", "op": "dsd.set_model_state_dict", **by_rank},
            {"let": f"after {name}", "op": "dsd.get_model_state_dict", "args": {"model": f"${name}", "options": FULL}}]


def optimizers(name, *groups, kind="adam", options=None):
    """Steps that make optimizers `name`0, `name`1, … of the model `name`; each has the parameters of these names."""
    return [{"let": f"{name}{index}", "op": "optimizer.create",
             "args": {"model": f"${name}", "kind": kind, "options": options or {},
                      "groups": [{"parameters": list(names), "options": {}}]}}
            for index, names in enumerate(groups)]


def of_optimizers(operation, label, name, count, *state_dicts, **arguments):
    """One step; `state_dicts`: for each rank."""
    given = {"model": f"${name}", "optimizers": [f"${name}{index}" for index in range(count)], **arguments}
    by_rank = {"args_by_rank": [{**given, "state_dict": state_dict} for state_dict in state_dicts]}
    step = {"let": label, "op": f"dsd.{operation}_optimizer_state_dict"}
    return step | (by_rank if state_dicts else {"args": given})


# Tensors to compare with.
KNOWN = {"five ones": [1.0] * 5, "three sevens": [7.0] * 3, "15 ones": [1.0] * 15, "15 sevens": [7.0] * 15,
         "five twos": [2.0] * 5, "twos and threes": [2.0] * 3 + [3.0] * 2}
MODELS = [
    *({"let": name, "op": "tensor.clone", "args": {"value": tensor([len(numbers)], numbers)}}
      for name, numbers in KNOWN.items()),
    *load("strict", whole(without=["0.bias"]), options=FULL),
    *load("lenient", whole(without=["0.bias"]), options={**FULL, **NOT_STRICT}),
    *load("broadcast", whole(without=["0.bias"]), options={**BROADCAST, **NOT_STRICT}),
    *load("differing", whole(2.0), whole(3.0), options=FULL),
    *load("ddp", whole(without=["0.bias", "1.bias"]), options={}, wrapper="ddp"),
    *load("ddp size", whole(**{"0.bias": filled([6], 7.0)}), options={}, wrapper="ddp"),
]
FROZEN = [
    {"let": "tied", "op": "model.build", "args": {"model": "tied_embedding", "args": {"vocab": 10, "dim": 2}}},
    {"op": "model.set_requires_grad", "args": {"model": "$tied", "values": {"embedding.weight": False}}},
    {"let": "frozen", "op": "dsd.get_model_state_dict",
     "args": {"model": "$tied", "options": {"ignore_frozen_params": True}}},
    {"let": "frozen submodule", "op": "dsd.get_model_state_dict",
     "args": {"model": "$tied", "submodules": ["decoder"], "options": {"ignore_frozen_params": True}}},
]
OPTIMIZERS = [
    *model("scheduled"), *optimizers("scheduled", SHAPES),
    {"op": "optimizer.schedule", "args": {"optimizer": "$scheduled0", "kind": "exponential", "factor": 0.5}},
    of_optimizers("get", "scheduled state", "scheduled", 1, options=FULL),
    *model("fresh"), *optimizers("fresh", SHAPES),
    of_optimizers("set", "load fresh", "fresh", 1, "$scheduled state", {}, options=BROADCAST),
    {"let": "after fresh", "op": "optimizer.state_dict", "args": {"optimizer": "$fresh0"}},

    *model("flat", wrapper="ddp"),
    *optimizers("flat", ["1.bias"], kind="sgd", options={"momentum": 0.5}),
    of_optimizers("get", "flat state", "flat", 1, options={"flatten_optimizer_state_dict": True}),
    of_optimizers("set", "load flat", "flat", 1, state_dict={
        f"param_groups.1.bias.{option}": f"$flat state.param_groups.1.bias.{option}" for option in SGD_OPTIONS}),
    {"let": "after flat", "op": "optimizer.state_dict", "args": {"optimizer": "$flat0"}},

    *model("plain"), *optimizers("plain", ["0.bias"]),
    of_optimizers("get", "plain state", "plain", 1),
    of_optimizers("set", "load plain", "plain", 1, state_dict={
        "state": {"0.bias": {"step": "$plain state.state.0.bias.step", "exp_avg": filled([5], 2.0),
                             "exp_avg_sq": "$plain state.state.0.bias.exp_avg_sq"}},
        "param_groups": "$plain state.param_groups"}),

    *model("halved"), *optimizers("halved", ["0.bias"]),
    of_optimizers("get", "halved state", "halved", 1),
    of_optimizers("set", "load halved", "halved", 1, state_dict={"param_groups": "$halved state.param_groups"}),

    *model("stateless"), *optimizers("stateless", ["0.weight", "0.bias"], ["1.weight", "1.bias"], kind="sgd"),
    of_optimizers("get", "stateless state", "stateless", 2),
    of_optimizers("set", "load stateless", "stateless", 2, state_dict="$stateless state"),
]
WORLD = 2


@pytest.fixture(scope="module", params=["torch", "reference"])
def side(request, tmp_path_factory):
    """(name of the implementation, outcomes of all ranks by the name of the step)."""
    folder = tmp_path_factory.mktemp(request.param)
    outcomes = outcomes_of(lambda *words: end_of(start_shardcts(*words, cwd=folder), 150), folder, request.param,
                           [*MODELS, *FROZEN, *OPTIMIZERS], world=WORLD)
    return request.param, outcomes


def values(outcomes):
    """What the ranks got; no rank has an error."""
    assert not [outcome for outcome in outcomes if "error" in outcome]
    return [outcome["value"] for outcome in outcomes]


def digest(value):
    """What tells the bytes of a recorded tensor from others."""
    return content_of(value)


def digest_of(outcomes, known):
    return digest(values(outcomes[known])[0])


def errors(outcomes):
    """"KIND: message" of all ranks; every rank has an error."""
    return [f"{outcome['error']['kind']}: {outcome['error']['message']}" for outcome in outcomes]


def test_a_name_missing_from_a_full_state_dict(side):
    implementation, outcomes = side
    if implementation == "torch":
        for keys in values(outcomes["load strict"]) + values(outcomes["load lenient"]):
            assert keys["missing_keys"] == []
    else:
        for error in errors(outcomes["load strict"]):
            assert error.startswith("RuntimeError") and 'Missing key(s) in state_dict: "0.bias"' in error
        for keys in values(outcomes["load lenient"]):
            assert keys["missing_keys"] == ["0.bias"]
    for after in values(outcomes["after strict"]) + values(outcomes["after lenient"]):
        assert digest(after["0.bias"]) == digest_of(outcomes, "five ones")
        assert digest(after["1.bias"]) == digest_of(outcomes, "three sevens")


def test_a_name_missing_on_rank_0_when_not_strict(side):
    implementation, outcomes = side
    for keys in values(outcomes["load broadcast"]):
        assert keys["missing_keys"] == ([] if implementation == "torch" else ["0.bias"])
    for after in values(outcomes["after broadcast"]):
        assert digest(after["0.bias"]) == digest_of(outcomes, "five ones")
        assert digest(after["1.bias"]) == digest_of(outcomes, "three sevens")


def test_whole_tensors_that_differ_between_ranks(side):
    implementation, outcomes = side
    loaded = "five twos" if implementation == "torch" else "twos and threes"
    for after in values(outcomes["after differing"]):
        assert digest(after["0.bias"]) == digest_of(outcomes, loaded)


def test_names_missing_under_ddp(side):
    implementation, outcomes = side
    for error in errors(outcomes["load ddp"]):
        assert error.startswith("RuntimeError")
        assert ("Missing key: 0.bias." if implementation == "torch" else '"0.bias", "1.bias"') in error
    loaded = "15 ones" if implementation == "torch" else "15 sevens"
    for after in values(outcomes["after ddp"]):
        assert digest(after["1.weight"]) == digest_of(outcomes, loaded)


def test_names_in_errors_under_ddp(side):
    implementation, outcomes = side
    shown = "module.0.bias" if implementation == "torch" else "0.bias"
    for error in errors(outcomes["load ddp size"]):
        assert f"size mismatch for {shown}: copying a param with shape" in error


def test_frozen_parameters_that_are_tied(side):
    implementation, outcomes = side
    second_name = ["decoder.weight"] if implementation == "torch" else []
    for state_dict in values(outcomes["frozen"]):
        assert sorted(state_dict) == ["decoder.bias", *second_name]
    if implementation == "torch":
        assert all(error.startswith("KeyError") for error in errors(outcomes["frozen submodule"]))
    else:
        assert [list(state_dict) for state_dict in values(outcomes["frozen submodule"])] == [["decoder.bias"]] * WORLD


def test_entries_that_the_loading_group_lacks(side):
    implementation, outcomes = side
    values(outcomes["load fresh"])
    has_initial_lr = ["initial_lr" in state["param_groups"][0] for state in values(outcomes["after fresh"])]
    assert has_initial_lr == ([True, False] if implementation == "torch" else [True, True])


def test_a_flat_state_dict_without_the_state_of_a_parameter(side):
    implementation, outcomes = side
    if implementation == "torch":
        values(outcomes["load flat"])
    else:
        for error in errors(outcomes["load flat"]):
            assert error.startswith("RuntimeError: Missing optimizer state for parameter '1.bias'")
    for after in values(outcomes["after flat"]):
        if implementation == "torch":
            ((_, state),) = after["state"]["$dict"]
            assert state["momentum_buffer"] == {}
        else:
            assert after["state"] == {}  # neither the load nor the save before has made any


def test_a_plain_moment_of_a_sharded_parameter(side):
    implementation, outcomes = side
    if implementation == "torch":
        values(outcomes["load plain"])
    else:
        for error in errors(outcomes["load plain"]):
            assert error.startswith("RuntimeError: a plain tensor of optimizer state")


def test_an_optimizer_state_dict_without_state(side):
    implementation, outcomes = side
    expected = "KeyError" if implementation == "torch" else "RuntimeError: Missing optimizer state"
    assert all(error.startswith(expected) for error in errors(outcomes["load halved"]))


def test_several_optimizers_without_state(side):
    implementation, outcomes = side
    if implementation == "torch":
        assert all(error.startswith("ValueError") for error in errors(outcomes["load stateless"]))
    else:
        values(outcomes["load stateless"])


def unlike(operation, name, *arguments):
    """One step; arguments for each rank."""
    return {"let": name, "op": f"dsd.{operation}", "args_by_rank": [{"model": "$m", **given} for given in arguments]}


OF_M = {"optimizers": ["$m0"]}
EMPTY = {**OF_M, "model_state_dict": {}, "optimizer_state_dict": {}, "options": BROADCAST}
# What makes PyTorch's ranks wait for each other, and what the reference does: an error on every rank, or none.
UNLIKE_CALLS = {
    "other options": (unlike("get_model_state_dict", "call", {"options": FULL}, {}),
                      "full_state_dict is true on rank 0, false on rank 1"),
    "nothing on the other ranks": (
        unlike("set_state_dict", "call",
               {**EMPTY, "model_state_dict": "$state.model", "optimizer_state_dict": "$state.optimizer"}, EMPTY), None),
}


@pytest.mark.parametrize("name", UNLIKE_CALLS)
@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_ranks_that_call_differently(shardcts, tmp_path, implementation, name):
    step, text = UNLIKE_CALLS[name]
    steps = [*model("m"), *optimizers("m", SHAPES),
             {"let": "state", "op": "dsd.get_state_dict", "args": {"model": "$m", **OF_M, "options": FULL}}, step]
    if implementation == "reference":
        outcomes = outcomes_of(shardcts, tmp_path, implementation, steps)["call"]
        assert all(text in error for error in errors(outcomes)) if text else values(outcomes)
        return
    file = tmp_path / "script.json"
    file.write_text(json.dumps({"contract": 1, "world_size": WORLD, "steps": steps}))
    ended = shardcts("exec", file, "--impl", "torch", "--timeout", 15, "--out", tmp_path / "torch")
    assert ended.code == 1 and ended.out.startswith("hang"), ended


@pytest.fixture
def torch_alone():
    """torch with a process group of one rank."""
    torch = pytest.importorskip("torch")
    import torch.distributed as dist
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield torch
    dist.destroy_process_group()


def stack(torch):
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 3))


def test_pytorch_replaces_the_values_of_the_dict_that_it_loads(torch_alone):
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, init_device_mesh
    given = stack(torch_alone).state_dict()
    target = stack(torch_alone)
    fully_shard(target, mesh=init_device_mesh("cpu", (1,)))
    assert not any(isinstance(value, DTensor) for value in given.values())
    set_model_state_dict(target, given, options=StateDictOptions(full_state_dict=True))
    assert all(isinstance(value, DTensor) for value in given.values())


@pytest.mark.parametrize("wrapper, prefix", [("ddp", "module."), ("compile", "_orig_mod.")])
def test_pytorch_renames_the_keys_of_the_dict_that_it_loads(torch_alone, wrapper, prefix):
    from torch.distributed.checkpoint.state_dict import set_model_state_dict
    wrap = {"ddp": torch_alone.nn.parallel.DistributedDataParallel, "compile": torch_alone.compile}[wrapper]
    given = stack(torch_alone).state_dict()
    names = list(given)
    set_model_state_dict(wrap(stack(torch_alone)), given)
    assert sorted(given) == sorted(prefix + name for name in names)


def test_pytorch_shows_ddp_in_missing_keys(torch_alone):
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
    given = stack(torch_alone).state_dict()
    del given["0.bias"]
    target = torch_alone.nn.parallel.DistributedDataParallel(stack(torch_alone))
    result = set_model_state_dict(target, given, options=StateDictOptions(strict=False))
    assert result.missing_keys == ["module.0.bias"]
