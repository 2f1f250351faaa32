"""A patch that is declared is one that is needed."""

import pkgutil
import socket
from unittest import mock

import pytest
import torch
from torch.distributed.checkpoint import _async_process_executor
from torch.distributed.fsdp._flat_param import FlatParamHandle

from shardcts import patches

GET_FREE_PORT = "torch.distributed.checkpoint._async_process_executor.get_free_port"


@pytest.fixture(autouse=True)
def pytorch_is_restored():
    def holder(target):
        path, name = target.rsplit(".", 1)
        return pkgutil.resolve_name(path), name

    missing = object()
    before = [(*holder(patch.target), getattr(*holder(patch.target), missing)) for patch in patches.PATCHES]
    yield
    for thing, name, original in before:
        if original is not missing:
            setattr(thing, name, original)
        elif hasattr(thing, name):
            delattr(thing, name)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="an accelerator can pin memory")
def test_pinning_is_not_possible_without_the_patch():
    tensor = torch.ones(2)
    with pytest.raises(RuntimeError):
        tensor.pin_memory()
    declared = patches.apply_needed("cpu")
    assert "torch.Tensor.pin_memory" in [patch["target"] for patch in declared]
    assert tensor.pin_memory() is tensor


@pytest.mark.skipif(torch.accelerator.is_available(), reason="the patches are for machines without an accelerator")
def test_a_stream_of_the_cpu_cannot_be_waited_for_without_the_patch():
    assert not hasattr(torch.cpu.Stream, "synchronize")
    patches.apply_needed("cpu")
    assert torch.cpu.Stream().synchronize() is None


def frees_a_flat_parameter_that_is_on_the_cpu():
    """What FlatParamHandle.to_cpu does with it: moves it, which is none, and frees the storage that it came from."""
    handle = mock.MagicMock()
    handle.flat_param = handle._get_padded_unsharded_flat_param.return_value = torch.empty(0)
    handle.flat_param._unpadded_unsharded_size = torch.Size([0])
    with FlatParamHandle.to_cpu(handle):
        return handle._free_unsharded_flat_param.called


def test_transfers_of_flat_parameters_are_patched_where_they_free_what_they_move():
    declared = [patch["target"] for patch in patches.apply_needed("cpu")]
    assert ("torch.distributed.fsdp._flat_param.FlatParamHandle.flat_param_to" in declared) \
        == frees_a_flat_parameter_that_is_on_the_cpu()


def test_a_patch_is_for_its_versions_only():
    target = "torch.distributed.fsdp._flat_param.FlatParamHandle.flat_param_to"
    before = FlatParamHandle.flat_param_to
    assert target not in {patch["target"] for patch in patches.apply_needed("cpu", version="2.14.0+cu130")}
    assert FlatParamHandle.flat_param_to is before
    declared = {patch["target"]: patch["reason"] for patch in patches.apply_needed("cpu", version="2.13.1+cpu")}
    assert declared[target].endswith("The move always copies. Only for PyTorch <2.14.")
    assert FlatParamHandle.flat_param_to is not before


def test_every_patch_is_declared_once_with_its_reason():
    targets = [patch.target for patch in patches.PATCHES]
    assert len(targets) == len(set(targets))
    assert all(patch.reason for patch in patches.PATCHES)


def test_accelerators_need_no_patch_but_those_of_their_streams_and_of_ports():
    original = torch.Tensor.pin_memory
    declared = [patch["target"] for patch in patches.apply_needed("cuda")]
    assert declared == ["torch.distributed.fsdp._flat_param.FlatParamHandle._writeback_orig_params", GET_FREE_PORT]
    assert torch.Tensor.pin_memory is original
    assert [patch["target"] for patch in patches.apply_needed("cuda", {"grad_writeback": "as_is"})] == [GET_FREE_PORT]


def test_the_port_of_a_background_store_is_free_and_never_that_of_an_outgoing_connection():
    with open("/proc/sys/net/ipv4/ip_local_port_range") as range_of_system:
        lowest, highest = map(int, range_of_system.read().split())
    assert lowest <= _async_process_executor.get_free_port() <= highest  # PyTorch's own: a connection may take it
    patches.apply_needed("cpu")
    port = _async_process_executor.get_free_port()
    assert port < lowest
    with socket.create_server(("", port)):
        assert _async_process_executor.get_free_port() != port


def test_an_option_leaves_its_patch_out():
    target = "torch.distributed.fsdp._optim_utils._unflatten_orig_param_states"
    assert target in {patch["target"] for patch in patches.apply_needed("cpu", {"backend": "gloo"})}
    assert target not in {patch["target"] for patch in patches.apply_needed("cpu", {"optim_gather": "as_is"})}
    with pytest.raises(ValueError, match="option optim_gather=off: the only value is as_is"):
        patches.apply_needed("cpu", {"optim_gather": "off"})
