"""Kinds of faults that implementations of sharded state dicts have had, each over all wrappers and forms to which it
applies, on the reference: shapes that differ, errors of one rank, parameters that are unsharded, parameters without
elements, frozen parameters, flat state dicts. docs/examples/public_reports has one script of each kind."""

from __future__ import annotations

import base64
import itertools
import math
import struct

import pytest

from conftest import end_of, outcomes_of, start_shardcts

FULL = {"full_state_dict": True}
BROADCAST = {"full_state_dict": True, "broadcast_from_rank0": True}
FLAT = {"flatten_optimizer_state_dict": True}
FORMS = {"sharded": {}, "full": FULL, "broadcast": BROADCAST}
WRAPPERS = {"fully_shard": {"wrapper": "fully_shard"}, "ddp": {"wrapper": "ddp"}, "fsdp": {"wrapper": "fsdp"},
            "fsdp with use_orig_params": {"wrapper": "fsdp", "options": {"use_orig_params": True}}}
# The weight has shape (2, 2).
OTHER_SHAPES = ([2], [2, 1], [1, 2], [4], [1], [], [1, 2, 2], [2, 2, 1], [3, 2], [1, 4], [0, 2])


def tensor(shape, numbers):
    data = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return {"$tensor": {"shape": list(shape), "dtype": "float32", "device": "cpu", "requires_grad": False,
                        "is_parameter": False, "data": data}}


def filled(shape, number=7.0):
    return tensor(shape, [number] * math.prod(shape))


def wrapped(name, wrapper, model="linear", arguments=None, value=1.0):
    arguments = arguments or {"in": 2, "out": 2, "bias": False}
    return [{"op": "implementation.seed", "args": {"seed": 7}},
            {"let": name, "op": "model.build", "args": {"model": model, "args": arguments}},
            {"op": "model.fill", "args": {"model": f"${name}", "value": value}},
            *([{"op": "model.wrap", "args": {"model": f"${name}", "path": "", **WRAPPERS[wrapper]}}] if wrapper else [])]


def optimizer(name, model, kind="adam", options=None, groups=None):
    arguments = {"model": f"${model}", "kind": kind, "options": options or {}}
    return {"let": name, "op": "optimizer.create", "args": arguments | ({"groups": groups} if groups else {})}


def of_state(operation, label, model, optimizers, options=None, **arguments):
    return {"let": label, "op": f"dsd.{operation}_optimizer_state_dict",
            "args": {"model": f"${model}", "optimizers": [f"${one}" for one in optimizers], "options": options or {},
                     **arguments}}


def forward(model, label, x=1.0, width=2):
    return {"let": label, "op": "model.forward", "args": {"model": f"${model}", "inputs": [filled([1, width], x)]}}


def trained(model, one, x=1.0, label="y"):
    """One step of training."""
    return [forward(model, f"{label} {model}", x),
            {"op": "model.backward", "args": {"model": f"${model}", "output": f"${label} {model}"}},
            {"op": "optimizer.step", "args": {"optimizer": f"${one}"}},
            {"op": "optimizer.zero_grad", "args": {"optimizer": f"${one}"}}]


def shown(model, label):
    return {"let": label, "op": "dsd.get_model_state_dict", "args": {"model": f"${model}", "options": FULL}}


@pytest.fixture
def run(tmp_path):
    """run(steps, world) -> outcomes of all ranks by the name of the step; within a minute, whatever happens."""
    folders = itertools.count()

    def call(steps, world=2):
        folder = tmp_path / str(next(folders))
        folder.mkdir()
        return outcomes_of(lambda *words: end_of(start_shardcts(*words, "--timeout", "30", cwd=folder), 120), folder,
                           "reference", steps, world=world)

    return call


def kinds(outcomes):
    return [outcome["error"]["kind"] if "error" in outcome else None for outcome in outcomes]


def messages(outcomes):
    return [outcome["error"]["message"] for outcome in outcomes]


def values(outcomes):
    assert kinds(outcomes) == [None] * len(outcomes), outcomes
    return [outcome["value"] for outcome in outcomes]


def numbers(entry):
    """The elements of a recorded tensor."""
    data = base64.b64decode(entry["$tensor"]["data"])
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def numbers_of(outcomes, *path):
    """The elements of this part of each rank's result."""
    found = []
    for value in values(outcomes):
        for key in path:
            value = value[key]
        found.append(numbers(value))
    return found


# ---- shapes

@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_parameter_of_another_shape_is_refused_on_every_rank(run, wrapper):
    steps = wrapped("m", wrapper)
    tried = {}
    for form, shape in itertools.product(("load", *FORMS), OTHER_SHAPES):
        if form in ("load", "sharded") and wrapper == "fully_shard":
            continue  # another error: a plain tensor
        arguments = {"model": "$m", "state_dict": {"weight": filled(shape)}}
        operation = "model.load_state_dict" if form == "load" else "dsd.set_model_state_dict"
        if form != "load":
            arguments["options"] = FORMS[form]
        label = f"{form} {shape}"
        tried[label] = shape
        steps.append({"let": label, "op": operation, "args": arguments})
    outcomes = run([*steps, shown("m", "after"), forward("m", "y")])
    wrong = {label: kinds(outcomes[label]) for label in tried
             if kinds(outcomes[label]) not in (["RuntimeError"] * 2, ["AssertionError"] * 2)}
    assert wrong == {}
    assert len(tried) >= 2 * len(OTHER_SHAPES)
    assert numbers_of(outcomes["after"], "weight") == [[1.0] * 4] * 2
    assert numbers_of(outcomes["y"]) == [[2.0, 2.0]] * 2
    if wrapper != "fully_shard":
        assert "weight" in messages(outcomes["full [2]"])[1]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_moment_of_another_shape_is_refused_on_every_rank(run, wrapper):
    steps = [*wrapped("m", wrapper), optimizer("o", "m"), of_state("get", "saved", "m", ["o"], FULL),
             of_state("get", "flat", "m", ["o"], {**FULL, **FLAT}), optimizer("p", "m")]
    options = ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "foreach", "capturable", "differentiable",
               "fused", "decoupled_weight_decay")
    tried = []
    for form, shape, moment in itertools.product(FORMS, OTHER_SHAPES, ("exp_avg", "exp_avg_sq")):
        state = {"step": "$saved.state.weight.step", "exp_avg": "$saved.state.weight.exp_avg",
                 "exp_avg_sq": "$saved.state.weight.exp_avg_sq", moment: filled(shape)}
        nested = {"state": {"weight": state}, "param_groups": "$saved.param_groups"}
        flat = {f"state.weight.{name}": value for name, value in state.items()}
        flat |= {f"param_groups.weight.{name}": f"$flat.param_groups.weight.{name}" for name in options}
        for kind, given in (("nested", nested), ("flat", flat)):
            tried.append(f"{form} {kind} {shape} {moment}")
            steps.append(of_state("set", tried[-1], "m", ["p"], FORMS[form], state_dict=given))
    outcomes = run([*steps, {"let": "after", "op": "optimizer.state_dict", "args": {"optimizer": "$p"}},
                    *trained("m", "p"), shown("m", "trained")])
    allowed = (["ValueError"] * 2, ["RuntimeError"] * 2) if wrapper == "fully_shard" else (["ValueError"] * 2,)
    peers = (*allowed, ["ValueError", "RuntimeError"])  # with broadcast rank 0 alone has it
    wrong = {label: kinds(outcomes[label]) for label in tried
             if kinds(outcomes[label]) not in (peers if "broadcast" in label else allowed)}
    assert wrong == {}
    assert [value["state"] for value in values(outcomes["after"])] == [{}, {}]
    assert all(part in messages(outcomes["full nested [1, 2] exp_avg"])[1]
               for part in ("exp_avg", "weight", "(2, 2)", "(1, 2)"))
    assert numbers_of(outcomes["trained"], "weight")[0] == numbers_of(outcomes["trained"], "weight")[1] != [[1.0] * 4]


# ---- what one rank alone finds wrong

BAD_MODELS = {"another shape": {"weight": filled([1, 2])}, "missing": {},
              "unexpected": {"weight": filled([2, 2]), "more": filled([2])}, "no tensor": {"weight": "text"}}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("bad_rank", [0, 1])
def test_what_one_rank_alone_finds_wrong_in_a_model_ends_all(run, wrapper, bad_rank):
    steps = wrapped("m", wrapper)
    tried = []
    for form, bad in itertools.product(("full", "broadcast"), BAD_MODELS):
        if form == "broadcast" and bad_rank == 1:
            continue  # what other ranks give is ignored
        given = [{"weight": filled([2, 2])}] * 2
        given[bad_rank] = BAD_MODELS[bad]
        tried.append(f"{form} {bad}")
        steps.append({"let": tried[-1], "op": "dsd.set_model_state_dict",
                      "args_by_rank": [{"model": "$m", "state_dict": one, "options": FORMS[form]} for one in given]})
        steps.append(shown("m", f"after {tried[-1]}"))
        steps.append({"op": "model.fill", "args": {"model": "$m", "value": 1.0}})
    outcomes = run(steps)
    assert {label: kinds(outcomes[label]) for label in tried if None in kinds(outcomes[label])} == {}
    for label in tried:  # wholly old or wholly new, and the same everywhere
        first, second = numbers_of(outcomes[f"after {label}"], "weight")
        assert first == second and first in ([1.0] * 4, [7.0] * 4), label
    other = messages(outcomes["full another shape"])[1 - bad_rank]
    assert f"rank {bad_rank}" in other and "weight" in other, other


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("bad_rank", [0, 1])
def test_what_one_rank_alone_finds_wrong_in_an_optimizer_ends_all(run, wrapper, bad_rank):
    steps = [*wrapped("m", wrapper), optimizer("o", "m"), of_state("get", "saved", "m", ["o"], FULL),
             optimizer("p", "m"), optimizer("q", "m")]
    state = {name: f"$saved.state.weight.{name}" for name in ("step", "exp_avg", "exp_avg_sq")}
    good = {"state": {"weight": state}, "param_groups": "$saved.param_groups"}
    bad_ones = {"state missing": {"state": {"other": state}, "param_groups": "$saved.param_groups"},
                "another shape": {"state": {"weight": state | {"exp_avg": filled([1, 2])}},
                                  "param_groups": "$saved.param_groups"},
                "no groups": {"state": {"weight": state}},
                "no tensor": {"state": {"weight": state | {"exp_avg": "text"}}, "param_groups": "$saved.param_groups"}}
    tried = []
    for form, bad in itertools.product(("full", "broadcast"), bad_ones):
        if form == "broadcast" and bad_rank == 1:
            continue
        given = [good] * 2
        given[bad_rank] = bad_ones[bad]
        tried.append(f"{form} {bad}")
        steps.append({"let": tried[-1], "op": "dsd.set_optimizer_state_dict",
                      "args_by_rank": [{"model": "$m", "optimizers": ["$p"], "state_dict": one, "options": FORMS[form]}
                                       for one in given]})
    outcomes = run([*steps, {"let": "after", "op": "optimizer.state_dict", "args": {"optimizer": "$p"}},
                    of_state("set", "good", "m", ["p"], FULL, state_dict=good), *trained("m", "p")])
    assert {label: kinds(outcomes[label]) for label in tried if None in kinds(outcomes[label])} == {}
    assert [value["state"] for value in values(outcomes["after"])] == [{}, {}]
    assert kinds(outcomes["good"]) == [None, None]


# ---- unsharded parameters

UNSHARDED = {"fully_shard": {"wrapper": "fully_shard"},
             "kept": {"wrapper": "fully_shard", "options": {"reshard_after_forward": False}},
             "fsdp": {"wrapper": "fsdp"}, "grad op": {"wrapper": "fsdp", "options": {"sharding_strategy": "SHARD_GRAD_OP"}},
             "orig": {"wrapper": "fsdp", "options": {"use_orig_params": True}}}


@pytest.mark.parametrize("wrapper", UNSHARDED)
def test_a_forward_after_an_evaluation_has_the_values_of_now(run, wrapper):
    """The gradient of y = W x summed is x for each row: W - lr x."""
    steps = [*wrapped("m", None), {"op": "model.wrap", "args": {"model": "$m", "path": "", **UNSHARDED[wrapper]}},
             optimizer("o", "m", "sgd", {"lr": 1.0}), forward("m", "y"),
             {"op": "model.backward", "args": {"model": "$m", "output": "$y"}}, forward("m", "evaluated"),
             {"op": "optimizer.step", "args": {"optimizer": "$o"}}, forward("m", "stepped"), shown("m", "state"),
             {"op": "dsd.set_model_state_dict",
              "args": {"model": "$m", "state_dict": {"weight": filled([2, 2], 3.0)}, "options": FULL}},
             forward("m", "loaded"), shown("m", "state after")]
    outcomes = run(steps)
    assert numbers_of(outcomes["evaluated"]) == [[2.0, 2.0]] * 2
    assert numbers_of(outcomes["stepped"]) == [[0.0, 0.0]] * 2
    assert numbers_of(outcomes["state"], "weight") == [[0.0] * 4] * 2
    assert numbers_of(outcomes["loaded"]) == [[6.0, 6.0]] * 2
    assert numbers_of(outcomes["state after"], "weight") == [[3.0] * 4] * 2


@pytest.mark.parametrize("wrapper", UNSHARDED)
def test_optimizer_state_is_saved_and_loaded_while_parameters_are_unsharded(run, wrapper):
    steps = [*wrapped("m", None), {"op": "model.wrap", "args": {"model": "$m", "path": "", **UNSHARDED[wrapper]}},
             optimizer("o", "m", options={"lr": 0.125}), *trained("m", "o"),
             of_state("get", "before", "m", ["o"], FULL), forward("m", "evaluated"),
             of_state("get", "while", "m", ["o"], FULL), forward("m", "again"), optimizer("p", "m"),
             forward("m", "once more"),
             of_state("set", "set", "m", ["o"], FULL, state_dict="$before"), *trained("m", "o", label="z")]
    outcomes = run(steps)
    for name in ("step", "exp_avg", "exp_avg_sq"):
        assert numbers_of(outcomes["while"], "state", "weight", name) == numbers_of(outcomes["before"], "state",
                                                                                    "weight", name)
    assert kinds(outcomes["set"]) == [None, None]


# ---- parameters without elements

@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_parameters_without_elements_are_saved_loaded_and_trained(run, wrapper, world):
    shapes = [[0, 3], [2], [3, 0], [5]]
    steps = [*wrapped("m", wrapper, "uneven_parameters", {"shapes": shapes}),
             optimizer("o", "m", "sgd", {"lr": 1.0}), forward("m", "y"),
             {"op": "model.backward", "args": {"model": "$m", "output": "$y"}},
             {"op": "optimizer.step", "args": {"optimizer": "$o"}}, shown("m", "stepped"),
             {"let": "live", "op": "model.state_dict", "args": {"model": "$m"}}]
    for form, options in FORMS.items():
        steps += [{"let": f"got {form}", "op": "dsd.get_model_state_dict",
                   "args": {"model": "$m", "options": {} if form == "sharded" else FULL}},
                  {"let": f"set {form}", "op": "dsd.set_model_state_dict",
                   "args": {"model": "$m", "state_dict": f"$got {form}", "options": options}},
                  of_state("get", f"state {form}", "m", ["o"], {} if form == "sharded" else FULL),
                  of_state("set", f"load {form}", "m", ["o"], options, state_dict=f"$state {form}"),
                  {"let": f"live {form}", "op": "model.state_dict", "args": {"model": "$m"}}]
    outcomes = run([*steps, shown("m", "after"), forward("m", "last")], world)
    # p.sum() * x.sum() with x of two ones: the gradient of each element is 2, so each is 1 - 2.
    for label in ("stepped", "after"):
        for value in values(outcomes[label]):
            assert [value[f"p{i}"]["$tensor"]["shape"] for i in range(4)] == shapes
            assert [numbers(value[f"p{i}"]) for i in range(4)] == [[], [-1.0] * 2, [], [-1.0] * 5]
    assert numbers_of(outcomes["last"]) == [[0.0, -4.0, 0.0, -10.0]] * world
    for form in FORMS:
        assert kinds(outcomes[f"set {form}"]) == kinds(outcomes[f"load {form}"]) == [None] * world, form
    if wrapper == "fully_shard":
        rows = [min(rank * -(-3 // world) + -(-3 // world), 3) - min(rank * -(-3 // world), 3) for rank in range(world)]
        for label in ("live", *(f"live {form}" for form in FORMS)):
            local = [value["p2"]["$dtensor"]["local"]["shape"] for value in values(outcomes[label])]
            assert local == [[count, 0] for count in rows], label


# ---- frozen and partly trained

@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("form", FORMS)
def test_state_of_a_frozen_parameter_is_saved_loaded_and_there_when_it_thaws(run, form, wrapper):
    if wrapper == "fsdp":
        wrapper = "fsdp with use_orig_params"  # the members of a flat parameter are frozen together
    build = ("linear_stack", {"sizes": [2, 2, 2], "bias": False})
    options = {} if form == "sharded" else FULL
    steps = [*wrapped("m", wrapper, *build), optimizer("o", "m"), *trained("m", "o"),
             {"op": "model.set_requires_grad", "args": {"model": "$m", "values": {"0.weight": False}}},
             of_state("get", "saved", "m", ["o"], options), of_state("get", "all", "m", ["o"], FULL),
             *wrapped("n", wrapper, *build),
             {"op": "model.set_requires_grad", "args": {"model": "$n", "values": {"0.weight": False}}},
             optimizer("p", "n"), of_state("set", "load", "n", ["p"], FORMS[form], state_dict="$saved"),
             of_state("get", "frozen", "n", ["p"], FULL),
             {"op": "model.set_requires_grad", "args": {"model": "$n", "values": {"0.weight": True}}},
             of_state("get", "thawed", "n", ["p"], FULL)]
    outcomes = run(steps)
    assert kinds(outcomes["load"]) == [None, None], outcomes["load"]
    for label, name in itertools.product(("frozen", "thawed"), ("step", "exp_avg", "exp_avg_sq")):
        for key in ("0.weight", "1.weight"):
            assert numbers_of(outcomes[label], "state", key, name) == numbers_of(outcomes["all"], "state", key, name)
    assert numbers_of(outcomes["all"], "state", "0.weight", "step") == [[1.0], [1.0]]
    assert any(numbers_of(outcomes["all"], "state", "0.weight", "exp_avg")[0])


@pytest.mark.parametrize("form", FORMS)
def test_partly_initialised_state_is_completed(run, form):
    build = ("linear_stack", {"sizes": [2, 2, 2], "bias": False})
    options = {} if form == "sharded" else FULL
    steps = [*wrapped("m", "fully_shard", *build), optimizer("o", "m"),
             {"op": "model.set_requires_grad", "args": {"model": "$m", "values": {"1.weight": False}}},
             *trained("m", "o"),
             {"op": "model.set_requires_grad", "args": {"model": "$m", "values": {"1.weight": True}}},
             of_state("get", "saved", "m", ["o"], options), of_state("get", "all", "m", ["o"], FULL),
             optimizer("p", "m"), of_state("set", "load", "m", ["p"], FORMS[form], state_dict="$saved")]
    outcomes = run(steps)
    assert kinds(outcomes["load"]) == [None, None], outcomes["load"]
    assert numbers_of(outcomes["all"], "state", "1.weight", "exp_avg") == [[0.0] * 4] * 2


# ---- state that get makes

@pytest.mark.parametrize("kind, options", [("adam", {"weight_decay": 0.5}), ("adamw", {"weight_decay": 0.5}),
                                           ("sgd", {"momentum": 0.5, "weight_decay": 0.5})])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_state_that_get_makes_has_no_moments_and_changes_nothing(run, wrapper, kind, options):
    steps = []
    for name in ("m", "n"):
        steps += [*wrapped(name, wrapper), optimizer(f"{name}o", name, kind, {"lr": 0.125, **options})]
    steps += [of_state("get", "saved", "m", ["mo"], FULL), shown("m", "untouched")]
    for name in ("m", "n"):
        steps += [*trained(name, f"{name}o"), *trained(name, f"{name}o", label="z"), shown(name, f"trained {name}")]
    outcomes = run(steps)
    assert numbers_of(outcomes["untouched"], "weight") == [[1.0] * 4] * 2
    moments = ["momentum_buffer"] if kind == "sgd" else ["exp_avg", "exp_avg_sq"]
    for moment in moments:
        assert numbers_of(outcomes["saved"], "state", "weight", moment) == [[0.0] * 4] * 2
    assert outcomes["trained m"] == outcomes["trained n"]


# ---- flat state dicts

@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_flat_and_back_is_the_same(run, wrapper):
    """An added option, an empty group first, nested state with keys of both types."""
    build = ("linear_stack", {"sizes": [2, 2, 2], "bias": False})
    groups = [{"parameters": [], "options": {"lr": 0.5}}, {"parameters": ["0.weight", "1.weight"], "options": {"lr": 0.25}}]
    others = [{"parameters": []}, {"parameters": ["0.weight", "1.weight"]}]
    if wrapper == "fsdp":
        groups[1]["parameters"], others[1]["parameters"] = ["_flat_param"], ["_flat_param"]
    steps = [*wrapped("m", wrapper, *build), optimizer("o", "m", groups=groups),
             {"op": "optimizer.schedule", "args": {"optimizer": "$o", "kind": "exponential", "factor": 0.5}},
             of_state("get", "nested", "m", ["o"], FULL), of_state("get", "flat", "m", ["o"], {**FULL, **FLAT})]
    for form, given in itertools.product(("full", "broadcast"), ("nested", "flat")):
        steps += [optimizer(f"p {form} {given}", "m", groups=others),
                  of_state("set", f"set {form} {given}", "m", [f"p {form} {given}"], FORMS[form], state_dict=f"${given}"),
                  of_state("get", f"after {form} {given}", "m", [f"p {form} {given}"], FULL)]
    outcomes = run(steps)
    for form, given in itertools.product(("full", "broadcast"), ("nested", "flat")):
        assert kinds(outcomes[f"set {form} {given}"]) == [None, None], (form, given)
        saved = values(outcomes["nested"])
        after = values(outcomes[f"after {form} {given}"])
        for one, other in zip(saved, after):
            assert one["state"] == other["state"], (form, given)
            as_set = [sorted(group.items(), key=lambda item: item[0]) for group in one["param_groups"]]
            assert as_set == [sorted(group.items(), key=lambda item: item[0]) for group in other["param_groups"]]
            assert [group["initial_lr"] for group in other["param_groups"]] == [0.5, 0.25]


def test_nested_state_keeps_the_types_of_its_keys_flat_too(run):
    pre = {"$dict": [[0, filled([2], 5.0)], ["0", filled([2], 6.0)], ["a.b", filled([1], 7.0)],
                     [3, {"$dict": [[1, filled([1], 8.0)]]}]]}
    state = {name: f"$saved.state.weight.{name}" for name in ("step", "exp_avg", "exp_avg_sq")} | {"pre": pre}
    steps = [*wrapped("m", "fully_shard"), optimizer("o", "m"), of_state("get", "saved", "m", ["o"], FULL),
             of_state("set", "set", "m", ["o"], FULL,
                      state_dict={"state": {"weight": state}, "param_groups": "$saved.param_groups"}),
             of_state("get", "nested", "m", ["o"], FULL), of_state("get", "flat", "m", ["o"], {**FULL, **FLAT}),
             optimizer("p", "m"), of_state("set", "back", "m", ["p"], FULL, state_dict="$flat"),
             of_state("get", "after", "m", ["p"], FULL)]
    outcomes = run(steps)
    assert kinds(outcomes["back"]) == [None, None], outcomes["back"]
    assert [value["state"] for value in values(outcomes["after"])] == [value["state"]
                                                                       for value in values(outcomes["nested"])]
    assert "$dict" in values(outcomes["after"])[0]["state"]["weight"]["pre"]
    assert 'state.weight.pre."a.b"' in values(outcomes["flat"])[0]


# ---- several optimizers, other orders

def test_ranks_whose_optimizers_order_parameters_otherwise_save_and_load_the_same(run):
    build = ("linear_stack", {"sizes": [2, 2, 2], "bias": False})
    names = ["0.weight", "1.weight"]
    steps = [*wrapped("m", "fully_shard", *build),  # gradients of 18 and 6
             {"op": "dsd.set_model_state_dict", "args": {"model": "$m", "state_dict": {"1.weight": filled([2, 2], 3.0)},
                                                         "options": {**FULL, "strict": False}}}]
    for name in ("o", "p"):
        steps.append({"let": name, "op": "optimizer.create", "args_by_rank": [
            {"model": "$m", "kind": "adam", "groups": [{"parameters": order}]} for order in (names, names[::-1])]})
    steps += [*trained("m", "o", x=3.0), of_state("get", "saved", "m", ["o"], FULL)]
    for form in ("full", "broadcast"):
        steps += [of_state("set", f"set {form}", "m", ["p"], FORMS[form], state_dict="$saved"),
                  of_state("get", f"after {form}", "m", ["p"], FULL)]
    outcomes = run(steps)
    first, second = (value["state"]["0.weight"] for value in values(outcomes["saved"]))
    assert first == second
    assert first != values(outcomes["saved"])[0]["state"]["1.weight"]
    for form, key in itertools.product(("full", "broadcast"), names):
        for rank in range(2):
            assert (values(outcomes[f"after {form}"])[rank]["state"][key]
                    == values(outcomes["saved"])[rank]["state"][key]), (form, key, rank)
