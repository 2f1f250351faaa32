"""The models in C++ and in Python are the same: classes, names, initial values and outputs, bit for bit.

The C++ side is the program zoo_dump: SHARDCTS_ZOO_DUMP, set by CTest, is its path.
"""

import base64
import copy
import json
import os
import subprocess

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

import shardcts_models
from shardcts_models.mlp import MLP
from shardcts_models.tree import hook_runs
from shardcts_models.tree_description import EVENTS
from shardcts_models.tree_fields import RESERVED
from tree_cases import BAD_TREES, TREES

ZOO_DUMP = os.environ.get("SHARDCTS_ZOO_DUMP")

MODELS = [
    ("linear", {"in": 3, "out": 5}),
    ("linear", {"in": 3, "out": 5, "bias": False}),
    ("linear_stack", {"sizes": [5, 7, 3]}),
    ("linear_stack", {"sizes": [4, 4, 4], "bias": False}),
    ("mlp", {"dim": 5}),
    ("nested_mlp", {"dim": 3}),
    ("mlp_sequence", {"dim": 6}),
    ("mlp_sequence", {"dim": 4, "count": 2}),
    ("mlp_stack", {"dim": 5}),
    ("mlp_stack", {"dim": 4, "with_seq_parallel": True}),
    ("transformer", {"dropout_p": 0.0}),
    ("transformer", {"dropout_p": 0, "n_layers": 1, "vocab_size": 11, "max_seq_len": 6, "dim": 12, "n_heads": 3,
                     "use_attn_mask": False, "weight_tying": False}),
    ("uneven_parameters", {"shapes": [[5, 3], [1], [], [2, 0], [16], [7, 2, 3]]}),
    ("multibuffer", {}),
    ("non_fsdp_root", {}),
    ("inner_outer", {}),
    ("inner_outer", {"register_buffers": True}),
    ("dummy_shared", {}),
    ("one_parameter", {}),
    ("skip_model", {}),
    ("nested_blocks", {}),
    ("nested_blocks", {"unmanaged_param": "root"}),
    ("nested_blocks", {"unmanaged_param": "block2.2"}),
    ("four_nets", {}),
    ("partly_replicated", {"sparse": "sparse0", "ranks": 2}),
    ("partly_replicated", {"sparse": "sparse1", "ranks": 4}),
    ("one_net", {}),
    ("unused_linear", {}),
    ("transformer_with_shared_params", {"dropout": 0.0}),
    ("transformer_with_shared_params", {"add_bn": False}),
    ("transformer_with_shared_params", {"deterministic": True}),
    ("composite_param", {}),
    ("composite_param", {"extra_state": "text", "non_persistent_buffer": True}),
    ("tied_embedding", {"vocab": 12, "dim": 3}),
    ("two_linears", {"dim": 6}),
    ("fusion_embedding", {"vocab": 4, "fusion_vocab": 5, "dim": 3}),
    ("fusion_embedding", {"kind": "RenamingFusionEmbedding", "vocab": 4, "fusion_vocab": 5, "dim": 3}),
    ("fusion_embedding", {"kind": "ModifyingFusionEmbedding", "vocab": 4, "fusion_vocab": 5, "dim": 3}),
]
IDS = [f"{model}-{json.dumps(args)}" for model, args in MODELS] + [f"tree-{i}" for i in range(len(TREES))]
MODELS += [("tree", args) for args in TREES]


def dump_of_cpp(model: str, args: dict, seed: int) -> subprocess.CompletedProcess:
    return subprocess.run([ZOO_DUMP, model, json.dumps(args), str(seed)], capture_output=True, text=True, timeout=60)


def as_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes()


def check_bits(what: str, tensor: torch.Tensor, dumped: dict) -> None:
    assert list(tensor.shape) == dumped["shape"], what
    assert str(tensor.dtype) == "torch." + dumped["dtype"], what
    data = base64.b64decode(dumped["base64"])
    if as_bytes(tensor) != data:
        cpp = torch.frombuffer(bytearray(data), dtype=tensor.dtype)
        twin = tensor.detach().reshape(-1)
        pytest.fail(f"{what}: C++ {cpp[:4]}, Python {twin[:4]}, difference {abs(cpp - twin).max()}")


def check_buffers(twin: torch.nn.Module, dumped: list) -> None:
    named = list(twin.named_buffers(remove_duplicate=False))
    assert [name for name, _ in named] == [name for name, _, _ in dumped]
    for (name, buffer), (_, expected, persistent) in zip(named, dumped, strict=True):
        check_bits(name, buffer, expected)
        assert (name in twin.state_dict()) == persistent, name


@pytest.mark.skipif(ZOO_DUMP is None, reason="SHARDCTS_ZOO_DUMP names no program")
@pytest.mark.parametrize("model, args", MODELS, ids=IDS)
@pytest.mark.parametrize("seed", [0, 1234])
def test_twins_are_equal(model, args, seed):
    process = dump_of_cpp(model, args, seed)
    assert process.returncode == 0, process.stderr
    dumped = json.loads(process.stdout)
    torch.manual_seed(seed)
    twin = shardcts_models.build(model, args)
    modules = [[path, type(module).__name__] for path, module in twin.named_modules(remove_duplicate=False)]
    assert modules == dumped["modules"]
    named = list(twin.named_parameters(remove_duplicate=False))
    assert [name for name, _ in named] == [name for name, _ in dumped["parameters"]]
    for (name, parameter), (_, expected) in zip(named, dumped["parameters"], strict=True):
        check_bits(name, parameter, expected)
    check_buffers(twin, dumped["buffers"])
    check_bits("output", twin.train()(*shardcts_models.example_inputs(model, args)), dumped["output"])
    check_buffers(twin, dumped["buffers_after_output"])
    check_bits("eval output", twin.eval()(*shardcts_models.example_inputs(model, args)), dumped["eval_output"])


BAD_ARGUMENTS = [
    ("teapot", {}, "unknown model 'teapot'; the zoo has: linear, linear_stack"),
    ("mlp", {}, "model 'mlp': argument 'dim' is missing"),
    ("mlp", {"dim": True}, "model 'mlp': argument 'dim' must be a positive int, got "),
    ("mlp", {"dim": 2, "depth": 1}, "model 'mlp': argument 'depth' is unknown"),
    ("linear_stack", {"sizes": [3]},
     "model 'linear_stack': argument 'sizes' must be a list of at least 2 positive ints, got "),
    ("linear", {"in": 1, "out": 1, "bias": 1}, "model 'linear': argument 'bias' must be a bool, got "),
    ("transformer", {"dropout_p": 2.0}, "model 'transformer': argument 'dropout_p' must be a number from 0 to 1, got "),
    ("transformer", {"dim": 10}, "model 'transformer': argument 'n_heads' must divide dim"),
    ("uneven_parameters", {"shapes": []},
     "model 'uneven_parameters': argument 'shapes' must be a list of shapes, got "),
    ("skip_model", {"double_nest": True}, "model 'skip_model': argument 'double_nest' is unknown"),
    ("nested_blocks", {"unmanaged_param": "leaf"},
     "model 'nested_blocks': argument 'unmanaged_param' must be one of root, block2.2, got "),
    ("partly_replicated", {"ranks": 2}, "model 'partly_replicated': argument 'sparse' is missing"),
    ("inner_outer", {"register_buffers": 1}, "model 'inner_outer': argument 'register_buffers' must be a bool, got "),
    ("transformer_with_shared_params", {"dropout": -1},
     "model 'transformer_with_shared_params': argument 'dropout' must be a number from 0 to 1, got "),
] + [("tree", args, "model 'tree': " + text) for args, text in BAD_TREES]


@pytest.mark.parametrize("model, args, text", BAD_ARGUMENTS, ids=[text[:80] for _, _, text in BAD_ARGUMENTS])
def test_bad_arguments_are_named(model, args, text):
    with pytest.raises(ValueError) as caught:
        shardcts_models.build(model, args)
    assert str(caught.value).startswith(text)


@pytest.mark.skipif(ZOO_DUMP is None, reason="SHARDCTS_ZOO_DUMP names no program")
def test_bad_arguments_have_the_same_text_in_cpp():
    lines = "".join(json.dumps([model, args]) + "\n" for model, args, _ in BAD_ARGUMENTS)
    process = subprocess.run([ZOO_DUMP, "--errors"], input=lines, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    for (_, _, text), said in zip(BAD_ARGUMENTS, process.stdout.splitlines(), strict=True):
        assert said.startswith(text)


def test_reserved_names_are_all_attributes_of_pytorchs_modules():
    layers = [nn.Module(), nn.Linear(1, 1), nn.Embedding(1, 1), nn.Conv1d(1, 1, 1), nn.LayerNorm(1), nn.BatchNorm1d(1),
              nn.Sequential(), nn.ReLU(), FSDPModule]
    attributes = {name for layer in layers for name in dir(layer) if not name.startswith("_")}
    own = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert attributes - own - RESERVED == set()


def test_hooks_count_what_ran():
    hooks = {event: event for event in EVENTS}
    child = {"kind": "linear", "out": 2, "extra_state": 1, "hooks": hooks}
    model = shardcts_models.build("tree", {"root": {"kind": "branch", "children": {"a": child}}})
    model(torch.ones(1, 4))
    model.load_state_dict(model.state_dict(prefix=""))
    assert hook_runs(model) == {event: ["a."] if event[:4] in ("save", "load") and event != "load_post" else [""]
                                for event in EVENTS}
    assert hook_runs(copy.deepcopy(model)) == hook_runs(model)


def test_meta_models_draw_nothing():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model = shardcts_models.build("nested_mlp", {"dim": 2}, "meta")
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_tied_weights_are_one_parameter():
    model = shardcts_models.build("transformer")
    assert model.output.weight is model.tok_embeddings.weight
    assert len(model.state_dict()) == 29 and len(list(model.parameters())) == 28


def test_models_that_share_or_tie_have_the_counts_of_upstream():
    dummy = shardcts_models.build("dummy_shared")
    assert dummy.net3 is dummy.net2 and dummy.shared_parameter is dummy.random_parameter
    assert len(dummy.state_dict()) == 8 and sum(p.numel() for p in dummy.parameters()) == 426
    model = shardcts_models.build("transformer_with_shared_params")
    assert len(list(model.parameters())) == 68 and len(model.state_dict()) == 74
    layer = model.transformer.encoder.layers[0]
    assert isinstance(layer, torch.nn.TransformerEncoderLayer) and model.training
    assert not shardcts_models.build("transformer_with_shared_params", {"deterministic": True}).training


def test_a_model_of_several_inputs_has_no_single_one():
    with pytest.raises(ValueError, match="has more than one input"):
        shardcts_models.example_input("transformer_with_shared_params")


def test_nested_mlp_has_the_names_of_upstream():
    model = shardcts_models.build("nested_mlp", {"dim": 2})
    assert len(list(model.parameters())) == 14
    assert isinstance(model[1][0], MLP) and [type(child) for child in model] == [MLP, torch.nn.Sequential, MLP]


def test_every_model_is_compared():
    assert {model for model, _ in MODELS} == set(shardcts_models.model_names())
