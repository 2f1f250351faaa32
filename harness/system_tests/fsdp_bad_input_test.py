"""FSDP1 state dicts that do not fit: each rank gets PyTorch's error, kind and text, and is left with PyTorch's values.

Every case loads one dict into a model of its own: Linear "0" is a unit, Linear "1" belongs to the root. Source and target
have other values, so that what was loaded before an error shows. What PyTorch does is measured in the same test."""

from __future__ import annotations

import base64
import itertools
import struct

import pytest

from conftest import content_of, outcomes_of

WORLD = 2
FQNS = ("0.weight", "0.bias", "1.weight", "1.bias")
FLAT = ("_flat_param", "0._flat_param")
SIZES = (4, 5, 3)  # uneven over two ranks in every parameter
OTHER_SIZES = (4, 6, 3)
NO_TENSORS = {"int": 3, "str": "x", "None": None, "list": [1.0], "dict": {"a": 1}, "float": 1.5, "bool": True}


def sevens(shape, code="f", dtype="float32"):
    """A tensor written in full."""
    count = 1
    for size in shape:
        count *= size
    data = base64.b64encode(struct.pack(f"<{count}{code}", *[7] * count)).decode()
    return {"$tensor": {"shape": list(shape), "dtype": dtype, "device": "cpu", "requires_grad": False,
                        "is_parameter": False, "data": data}}


def model(name, kind, seed=1, sizes=SIZES, dtype=None, options=None):
    """Steps that make `name`: units with state dicts of this kind."""
    steps = [{"op": "implementation.seed", "args": {"seed": seed}},
             {"let": name, "op": "model.build", "args": {"model": "linear_stack", "args": {"sizes": list(sizes)}}}]
    if dtype:
        steps.append({"op": "model.to", "args": {"model": f"${name}", "dtype": dtype}})
    for path in ("0", ""):
        steps.append({"op": "model.wrap", "args": {"model": f"${name}", "path": path, "wrapper": "fsdp",
                                                   "options": options or {}}})
    return [*steps, {"op": "fsdp.set_state_dict_type", "args": {"model": f"${name}", "type": kind}}]


def saved(name, kind, **how):
    """Steps that make the state dict `name` of a model of its own."""
    return [*model(f"{name}_model", kind, **how),
            {"let": name, "op": "model.state_dict", "args": {"model": f"${name}_model"}}]


def load(name, kind, *given, strict=True, options=None):
    """Steps that load `given`, a dict for all ranks or one for each, and show all parameters afterwards."""
    arguments = [{"model": f"${name}", "state_dict": entries, "strict": strict} for entries in given]
    by_rank = {"args_by_rank": arguments} if len(given) > 1 else {"args": arguments[0]}
    return [*model(name, kind, seed=2, options=options),
            {"let": f"load {name}", "op": "model.load_state_dict", **by_rank},
            {"op": "fsdp.set_state_dict_type", "args": {"model": f"${name}", "type": "FULL"}},
            {"let": f"after {name}", "op": "model.state_dict", "args": {"model": f"${name}"}}]


def of(source, keys=FQNS, without=(), **changed):
    """Entries of an earlier step's dict; keywords with "__" for a dot replace or add some."""
    entries = {key: f"${source}.{key}" for key in keys if key not in without}
    return entries | {key.replace("__", "."): value for key, value in changed.items()}


def common_cases(kind, **how):
    """What every kind with original names does alike."""
    more = {"more": "$good.0.bias", "0__more": "$good.0.bias", "2__weight": "$good.0.bias"}
    return itertools.chain(
        load("fits", kind, of("good"), **how),
        load("wrong shape", kind, of("other"), **how),
        load("one wrong shape", kind, of("good", **{"0__weight": "$good.1.weight"}), **how),
        load("missing", kind, of("good", without=["0.weight", "1.bias"]), **how),
        load("missing, not strict", kind, of("good", without=["0.weight", "1.bias"]), strict=False, **how),
        load("unexpected", kind, of("good", **more), **how),
        load("unexpected, not strict", kind, of("good", **more), strict=False, **how),
        load("other dtype", kind, of("double"), **how),
        load("empty", kind, {}, **how),
        *(load(f"no tensor: {name}", kind, of("good", **{"1__weight": value}), **how)
          for name, value in NO_TENSORS.items()))


def full_script(**how):
    return [*saved("good", "FULL"), *saved("other", "FULL", sizes=OTHER_SIZES), *saved("double", "FULL", dtype="float64"),
            *saved("sharded", "SHARDED"), *saved("local", "LOCAL"), *common_cases("FULL", **how),
            *load("names of the wrapper", "FULL", {f"_fsdp_wrapped_module.{key}": f"$good.{key}" for key in FQNS}, **how),
            *load("integers", "FULL", of("good", **{"0__bias": sevens([5], "q", "int64")}), **how),
            *load("no tensor in the inner unit", "FULL", of("good", **{"0__weight": 3}), **how),
            *load("sharded dict", "FULL", of("sharded"), **how),
            *load("local dict", "FULL", of("local", FLAT), **how),
            *load("missing on rank 1", "FULL", of("good"), of("good", without=["0.weight"]), **how),
            *load("wrong shape on rank 0", "FULL", of("other"), of("good"), **how),
            *load("no tensor on rank 1", "FULL", of("good"), of("good", **{"1__weight": 5}), **how),
            *load("empty on rank 1", "FULL", of("good"), {}, **how)]


def local_script():
    good = of("good", FLAT)
    return [*saved("good", "LOCAL"), *saved("other", "LOCAL", sizes=OTHER_SIZES),
            *saved("large", "LOCAL", sizes=(4, 50, 30)), *saved("double", "LOCAL", dtype="float64"),
            *saved("sharded", "SHARDED"), *saved("full", "FULL"),
            *load("fits", "LOCAL", good),
            *load("wrong size", "LOCAL", of("other", FLAT)),
            *load("wrong size of the inner unit", "LOCAL", good | {"0._flat_param": "$other.0._flat_param"}),
            *load("far too large", "LOCAL", of("large", FLAT)),
            *load("missing of the root", "LOCAL", of("good", FLAT[1:])),
            *load("missing of the inner unit", "LOCAL", of("good", FLAT[:1])),
            *load("missing, not strict", "LOCAL", of("good", FLAT[:1]), strict=False),
            *load("unexpected", "LOCAL", good | {"more": "$full.0.bias", "0.more": "$full.0.bias"}),
            *load("other dtype", "LOCAL", of("double", FLAT)),
            *load("plain tensor", "LOCAL", good | {"_flat_param": sevens([18])}),
            *itertools.chain(*(load(f"no tensor: {name}", "LOCAL", good | {"_flat_param": value})
                               for name, value in NO_TENSORS.items())),
            *load("no tensor in the inner unit", "LOCAL", good | {"0._flat_param": 3}),
            *load("full dict", "LOCAL", of("full")),
            *load("sharded dict", "LOCAL", of("sharded")),
            *load("shards of a parameter", "LOCAL", {key: "$sharded.0.bias" for key in FLAT}),
            *load("empty", "LOCAL", {}),
            *load("missing on rank 1", "LOCAL", good, of("good", FLAT[1:])),
            *load("wrong size on rank 0", "LOCAL", of("other", FLAT), good),
            *load("no tensor on rank 1", "LOCAL", good, good | {"0._flat_param": 3})]


def sharded_script(on_a_mesh, **how):
    mesh = {"device_mesh": "$mesh"}
    own, foreign = (mesh, {}) if on_a_mesh else (how, mesh)
    return [{"let": "mesh", "op": "mesh.init", "args": {"shape": [WORLD]}},
            *saved("good", "SHARDED", options=own), *saved("other", "SHARDED", sizes=OTHER_SIZES, options=own),
            *saved("double", "SHARDED", dtype="float64", options=own), *saved("foreign", "SHARDED", options=foreign),
            *saved("full", "FULL"), *saved("local", "LOCAL"), *common_cases("SHARDED", options=own),
            *load("full dict", "SHARDED", of("full"), options=own),
            *load("local dict", "SHARDED", of("local", FLAT), options=own),
            *load("shards of the other kind", "SHARDED", of("foreign"), options=own),
            *load(INNER, "SHARDED", of("good", **{"0__weight": 3}), options=own)]


# PyTorch's outer unit stays unsharded after it, and the model cannot be used any more (docs/deviations.md).
INNER = "no tensor in the inner unit"

SCRIPTS = {"full": full_script(), "full, use_orig_params": full_script(options={"use_orig_params": True}),
           "local": local_script(), "sharded": sharded_script(False),
           "sharded, use_orig_params": sharded_script(False, use_orig_params=True),
           "sharded, on a mesh": sharded_script(True)}


def without_wrappers(outcomes):
    """In PyTorch's texts names show the wrappers, in the contract nothing does."""
    return [{"error": {**outcome["error"], "message": outcome["error"]["message"].replace("_fsdp_wrapped_module.", "")}}
            if "error" in outcome else outcome for outcome in outcomes]


@pytest.mark.parametrize("steps", SCRIPTS.values(), ids=SCRIPTS)
def test_every_rank_gets_the_error_and_the_values_that_pytorch_gives(shardcts, tmp_path, steps):
    actual = outcomes_of(shardcts, tmp_path, "reference", steps)
    expected = outcomes_of(shardcts, tmp_path, "torch", steps)
    assert list(actual) == list(expected)
    assert "value" in actual["load fits"][0]
    compared = [name for name in actual if name.startswith(("load ", "after ")) and name != f"after {INNER}"]
    assert len(compared) > 20
    for name in compared:
        assert len(actual[name]) == WORLD
        assert without_wrappers(actual[name]) == without_wrappers(expected[name]), name


def values(outcomes):
    """The contents of a full state dict, which all ranks must have alike."""
    first, *others = [{key: content_of(entry) for key, entry in outcome["value"].items()} for outcome in outcomes]
    assert all(other == first for other in others)
    return first


def refused_by_the_reference(shardcts, folder, steps, world=WORLD):
    """The texts of the error that every rank gets for the load "bad"; nothing of it was loaded."""
    outcomes = outcomes_of(shardcts, folder, "reference", [*steps, *saved("untouched", "FULL", seed=2)], world)
    assert all("error" in outcome for outcome in outcomes["load bad"]), outcomes["load bad"]
    assert values(outcomes["after bad"]) == values(outcomes["untouched"])
    return [f"{outcome['error']['kind']}: {outcome['error']['message']}" for outcome in outcomes["load bad"]]


# On PyTorch the ranks of these are in different collectives: they hang or crash, or mix the shards up.
BY_RANK = {
    "missing": (of("good"), of("good", without=["1.weight"]), [
        'RuntimeError: the entries of "1.weight" cannot be gathered: rank 0 has (3, 5), rank 1 has no entry',
        'RuntimeError: the entries of "1.weight" cannot be gathered: rank 1 has no entry, rank 0 has (3, 5)']),
    "other shape": (of("other"), of("good"), [
        'RuntimeError: the entries of "1.weight" cannot be gathered: rank 0 has (3, 6), rank 1 has (3, 5)',
        'RuntimeError: the entries of "1.weight" cannot be gathered: rank 1 has (3, 5), rank 0 has (3, 6)'])}
NO_SHARDS = {"no tensor": (of("good", **{"1__weight": 3}), "int"), "full dict": (of("full"), "Tensor")}


@pytest.mark.parametrize("options", [{}, {"device_mesh": "$mesh"}], ids=["ShardedTensors", "DTensors"])
@pytest.mark.parametrize("case", BY_RANK)
def test_ranks_that_have_different_entries_all_get_an_error(shardcts, tmp_path, case, options):
    *given, expected = BY_RANK[case]
    steps = [{"let": "mesh", "op": "mesh.init", "args": {"shape": [WORLD]}}, *saved("good", "SHARDED", options=options),
             *saved("other", "SHARDED", sizes=OTHER_SIZES, options=options),
             *load("bad", "SHARDED", *given, options=options)]
    assert refused_by_the_reference(shardcts, tmp_path, steps) == expected


@pytest.mark.parametrize("case", NO_SHARDS)
def test_a_rank_without_shards_tells_its_peers(shardcts, tmp_path, case):
    given, type_name = NO_SHARDS[case]
    steps = [*saved("good", "SHARDED"), *saved("full", "FULL"), *load("bad", "SHARDED", of("good"), given)]
    peer, rank = refused_by_the_reference(shardcts, tmp_path, steps)
    assert peer == ('RuntimeError: the entries of "1.weight" cannot be gathered: rank 0 has (3, 5), '
                    "rank 1 has an entry that cannot be gathered")
    assert rank.startswith("AssertionError: Expected ShardedTensor, got <class '")
    assert rank.endswith(f"{type_name}'>")


def over_pairs(steps):
    """The same with every wrapper over the ranks 0 and 1, or 2 and 3."""
    for step in steps:
        if step["op"] == "model.wrap":
            arguments = step.pop("args")
            step["args_by_rank"] = [{**arguments, "options": {"process_group": group}} for group in ("$a", "$a", "$b", "$b")]
    return steps


PAIRS = [{"let": "a", "op": "group.new", "args": {"ranks": [0, 1]}},
         {"let": "b", "op": "group.new", "args": {"ranks": [2, 3]}}]


def test_shards_of_another_number_of_ranks_are_refused_on_every_rank(shardcts, tmp_path):
    """4 ranks' shards fit into chunks of 2 ranks: PyTorch takes them, each for the rows of its own rank."""
    steps = [*PAIRS, *saved("good", "SHARDED"), *over_pairs(load("bad", "SHARDED", of("good")))]
    outcomes = outcomes_of(shardcts, tmp_path, "torch", [*steps, *saved("whole", "FULL")], world=4)
    assert all("value" in outcome for outcome in outcomes["load bad"])
    assert outcomes["after bad"][0]["value"] != outcomes["whole"][0]["value"]

    (tmp_path / "larger").mkdir()
    assert refused_by_the_reference(shardcts, tmp_path / "larger", steps, world=4) == [
        'RuntimeError: rank 0: "1.weight" over 2 ranks: expected a shard (2, 5) at (0, 0), actual a shard (1, 5) at (0, 0)',
        'RuntimeError: rank 1: "1.weight" over 2 ranks: expected a shard (1, 5) at (2, 0), actual a shard (1, 5) at (1, 0)',
        'RuntimeError: rank 0: "1.weight" over 2 ranks: expected a shard (2, 5) at (0, 0), actual a shard (1, 5) at (2, 0)',
        'RuntimeError: rank 1: "1.weight" over 2 ranks: expected a shard (1, 5) at (2, 0), actual no shard']
    (tmp_path / "smaller").mkdir()
    steps = [*PAIRS, *over_pairs(saved("good", "SHARDED")), *load("bad", "SHARDED", of("good"))]
    refused = refused_by_the_reference(shardcts, tmp_path / "smaller", steps, world=4)
    assert [text.split(", actual ")[1] for text in refused] == [
        "a shard (2, 5) at (0, 0)", "a shard (1, 5) at (2, 0)", "a shard (2, 5) at (0, 0)", "a shard (1, 5) at (2, 0)"]


def test_local_shards_of_another_number_of_ranks_have_another_size(shardcts, tmp_path):
    steps = [*PAIRS, *saved("good", "LOCAL"), *over_pairs(load("bad", "LOCAL", of("good", FLAT)))]
    actual = outcomes_of(shardcts, tmp_path, "reference", steps, world=4)
    expected = outcomes_of(shardcts, tmp_path, "torch", steps, world=4)
    assert all("size mismatch for _flat_param" in outcome["error"]["message"] for outcome in actual["load bad"])
    for name in ("load bad", "after bad"):
        assert without_wrappers(actual[name]) == without_wrappers(expected[name])


@pytest.mark.parametrize("text, place", [
    ('{"contract": 1, "steps": [{"op": "model.load_state_dict", "args": {"model": "$m", '
     '"state_dict": {"0.weight": 1, "0.bias": 2, "0.weight": 3}}}]}',
     'steps[0].args.state_dict: key "0.weight" stands twice'),
    ('{"contract": 1, "steps": [{"op": "implementation.seed", "args": {"seed": 1, "seed": 2}}]}',
     'steps[0].args: key "seed" stands twice'),
    ('{"contract": 1, "steps": [{"op": "tensor.clone", "args": {"value": {"$dict": [["a", 1], ["a", 2]]}}}]}',
     'steps[0]: tensor.clone: argument "value": value: key "a" stands twice')], ids=["entry", "argument", "pairs"])
def test_key_that_stands_twice_in_a_script_is_wrong_input(shardcts, tmp_path, text, place):
    (tmp_path / "script.json").write_text(text)
    ended = shardcts("exec", "script.json", "--impl", "reference", "--out", "out")
    assert (ended.code, ended.err) == (2, f"shardcts: script.json: {place}\n")
    assert not (tmp_path / "out").exists()
