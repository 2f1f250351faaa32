"""A patch that is declared is one that is needed."""

import pytest
import torch

from shardcts import patches


@pytest.fixture
def pin_memory():
    original = torch.Tensor.pin_memory
    yield original
    torch.Tensor.pin_memory = original


@pytest.mark.skipif(torch.accelerator.is_available(), reason="an accelerator can pin memory")
def test_pinning_is_not_possible_without_the_patch(pin_memory):
    tensor = torch.ones(2)
    with pytest.raises(RuntimeError):
        tensor.pin_memory()
    declared = patches.apply_needed("cpu")
    assert [patch["target"] for patch in declared] == ["torch.Tensor.pin_memory"]
    assert tensor.pin_memory() is tensor


def test_accelerators_need_no_patch(pin_memory):
    assert patches.apply_needed("cuda") == []
    assert torch.Tensor.pin_memory is pin_memory
