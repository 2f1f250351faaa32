"""A patch that is declared is one that is needed."""

import pkgutil

import pytest
import torch

from shardcts import patches


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


def test_every_patch_is_declared_once_with_its_reason():
    targets = [patch.target for patch in patches.PATCHES]
    assert len(targets) == len(set(targets))
    assert all(patch.reason for patch in patches.PATCHES)


def test_accelerators_need_no_patch():
    original = torch.Tensor.pin_memory
    assert patches.apply_needed("cuda") == []
    assert torch.Tensor.pin_memory is original


def test_an_option_leaves_its_patch_out():
    target = "torch.distributed.fsdp._optim_utils._unflatten_orig_param_states"
    assert target in {patch["target"] for patch in patches.apply_needed("cpu", {"backend": "gloo"})}
    assert target not in {patch["target"] for patch in patches.apply_needed("cpu", {"optim_gather": "as_is"})}
    with pytest.raises(ValueError, match="option optim_gather=off: the only value is as_is"):
        patches.apply_needed("cpu", {"optim_gather": "off"})
