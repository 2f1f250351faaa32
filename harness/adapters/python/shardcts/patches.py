"""What must be changed in PyTorch to run the suites on a device at all.

Each patch is declared in the results with its reason. A patch never touches what is being checked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.distributed import _state_dict_utils
from torch.distributed.fsdp import _init_utils
from torch.distributed.fsdp._flat_param import FlatParamHandle


@dataclass(frozen=True)
class Patch:
    target: str
    reason: str
    is_needed: Callable[[str], bool]  # by device type
    apply: Callable[[], None]

    def describe(self) -> dict[str, str]:
        return {"target": self.target, "reason": self.reason}


def _has_no_accelerator(device_type: str) -> bool:
    return device_type == "cpu" and not torch.accelerator.is_available()


def _make_pin_memory_a_no_op() -> None:
    torch.Tensor.pin_memory = lambda self, *args, **kwargs: self


def _is_cpu(device_type: str) -> bool:
    return device_type == "cpu"


def _let_cpu_streams_be_waited_for() -> None:
    torch.cpu.Stream.synchronize = lambda self: None


def _make_transfers_to_the_cpu_copies() -> None:
    move = FlatParamHandle.flat_param_to

    @functools.wraps(move)
    def copy_and_move(self, *args, **kwargs):
        self.flat_param.data = self.flat_param.data.clone()
        move(self, *args, **kwargs)

    FlatParamHandle.flat_param_to = copy_and_move


def _allow_synchronizing_states_on_the_cpu() -> None:
    _init_utils._check_module_states_for_sync_module_states = lambda module_states: None


def _gather_sharded_tensors_without_gradient() -> None:
    gather = _state_dict_utils._all_gather_sharded_tensor

    @functools.wraps(gather)
    def without_gradient(*args, **kwargs):
        with torch.no_grad():
            return gather(*args, **kwargs)

    _state_dict_utils._all_gather_sharded_tensor = without_gradient


PATCHES = [
    Patch(
        target="torch.cpu.Stream.synchronize",
        reason="FSDP with parameter offload waits for the current stream after the backward pass; the CPU's stand-in "
               "for a stream has no such method. It does nothing, as CPU work is done when the call returns.",
        is_needed=lambda device_type: _is_cpu(device_type) and not hasattr(torch.cpu.Stream, "synchronize"),
        apply=_let_cpu_streams_be_waited_for,
    ),
    Patch(
        target="torch.distributed.fsdp._flat_param.FlatParamHandle.flat_param_to",
        reason="offloading a full state dict to the CPU moves the flat parameter and frees the storage that it came "
               "from. On a CPU the move is none, so the saved values themselves are freed. The move always copies.",
        is_needed=_is_cpu,
        apply=_make_transfers_to_the_cpu_copies,
    ),
    Patch(
        target="torch.distributed.fsdp._init_utils._check_module_states_for_sync_module_states",
        reason="sync_module_states=True refuses states on a CPU, although gloo can broadcast them. The check is left "
               "out.",
        is_needed=_is_cpu,
        apply=_allow_synchronizing_states_on_the_cpu,
    ),
    Patch(
        target="torch.distributed._state_dict_utils._all_gather_sharded_tensor",
        reason="gathering a local shard that requires a gradient raises over gloo (in-place write to a view). It runs "
               "without gradient.",
        is_needed=_is_cpu,
        apply=_gather_sharded_tensors_without_gradient,
    ),
    Patch(
        target="torch.Tensor.pin_memory",
        reason="pinning needs an accelerator; without one CPUOffloadPolicy(pin_memory=True), the default, cannot be "
               "used. The tensor is returned as it is.",
        is_needed=_has_no_accelerator,
        apply=_make_pin_memory_a_no_op,
    ),
]


def apply_needed(device_type: str) -> list[dict[str, str]]:
    """Applies what this device type needs and returns the declarations."""
    needed = [patch for patch in PATCHES if patch.is_needed(device_type)]
    for patch in needed:
        patch.apply()
    return [patch.describe() for patch in needed]
