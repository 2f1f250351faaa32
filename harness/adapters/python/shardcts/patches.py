"""What must be changed in PyTorch to run the suites on a device at all.

Each patch is declared in the results with its reason. A patch never touches what is being checked.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.distributed import _state_dict_utils
from torch.distributed.checkpoint import _async_process_executor
from torch.distributed.fsdp import _init_utils, _optim_utils
from torch.distributed.fsdp._flat_param import FlatParamHandle

from shardcts.version_range import VersionRange


@dataclass(frozen=True)
class Patch:
    target: str
    reason: str
    is_needed: Callable[[str], bool]  # by device type
    apply: Callable[[], None]
    option: str | None = None  # the patch is left out when this option of the adapter is "as_is"
    versions: VersionRange | None = None  # of PyTorch, which alone need it; none: all

    def describe(self) -> dict[str, str]:
        of_versions = f" Only for PyTorch {self.versions}." if self.versions else ""
        return {"target": self.target, "reason": self.reason + of_versions}


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


def _has_streams(device_type: str) -> bool:
    return not _is_cpu(device_type)


def _let_streams_wait_for_written_gradients() -> None:
    write_back = FlatParamHandle._writeback_orig_params

    @functools.wraps(write_back)
    def write_back_and_say_so(self):
        write_back(self)
        return True  # the unsharding stream waits for the stream that wrote

    FlatParamHandle._writeback_orig_params = write_back_and_say_so


def _copy_gathered_optimizer_states() -> None:
    unflatten = _optim_utils._unflatten_orig_param_states

    @functools.wraps(unflatten)
    def copy_and_unflatten(fsdp_param_info, output_states, state_name, *args, **kwargs):
        for state in output_states.values():
            state[state_name] = state[state_name].clone()
        unflatten(fsdp_param_info, output_states, state_name, *args, **kwargs)

    _optim_utils._unflatten_orig_param_states = copy_and_unflatten


_PORTS = range(16384, 32768)  # below the ports that Linux gives to outgoing connections


def _free_port_of_no_connection() -> int:
    """A port that is free now and that no outgoing connection gets later; each process begins its search at another one.

    Raises OSError if there is none.
    """
    start = os.getpid() * 97 % len(_PORTS)
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    for port in itertools.chain(_PORTS[start:], _PORTS[:start]):
        with socket.socket(family) as probe:
            try:
                probe.bind(("", port))
                return port
            except OSError:
                continue
    raise OSError(f"no free port from {_PORTS.start} to {_PORTS.stop - 1}")


def _let_background_stores_keep_their_port() -> None:
    _async_process_executor.get_free_port = _free_port_of_no_connection


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
        versions=VersionRange("<2.14"),
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
        target="torch.distributed.fsdp._optim_utils._unflatten_orig_param_states",
        reason="gathering optimizer state with use_orig_params reuses one buffer for every state name and lets the move "
               "to the CPU copy the result. On a CPU the move is none, so exp_avg is overwritten by exp_avg_sq. What "
               "was gathered is copied. optim_gather=as_is leaves this patch out.",
        is_needed=_is_cpu,
        apply=_copy_gathered_optimizer_states,
        option="optim_gather",
    ),
    Patch(
        target="torch.distributed.fsdp._flat_param.FlatParamHandle._writeback_orig_params",
        reason="with use_orig_params, a gradient that was set anew is written into the flat gradient on a stream of its own, "
               "which no stream waits for unless a parameter was written, too: what is accumulated onto it may be read too "
               "early. The streams always wait. grad_writeback=as_is leaves this patch out.",
        is_needed=_has_streams,
        apply=_let_streams_wait_for_written_gradients,
        option="grad_writeback",
    ),
    Patch(
        target="torch.distributed.checkpoint._async_process_executor.get_free_port",
        reason="the process that saves in the background gets a port that is free and is listened to later; any outgoing "
               "connection may have taken it by then (EADDRINUSE). The port is chosen below those of outgoing connections.",
        is_needed=lambda device_type: True,
        apply=_let_background_stores_keep_their_port,
    ),
    Patch(
        target="torch.Tensor.pin_memory",
        reason="pinning needs an accelerator; without one CPUOffloadPolicy(pin_memory=True), the default, cannot be "
               "used. The tensor is returned as it is.",
        is_needed=_has_no_accelerator,
        apply=_make_pin_memory_a_no_op,
    ),
]


def apply_needed(
    device_type: str, options: Mapping[str, str] | None = None, version: str = torch.__version__
) -> list[dict[str, str]]:
    """Applies what this device type and this version of PyTorch need and the adapter's options do not leave out; returns the
    declarations.

    Raises ValueError for an option of a patch that is not "as_is".
    """
    of_version = [patch for patch in PATCHES if patch.versions is None or version in patch.versions]
    needed = [patch for patch in of_version if patch.is_needed(device_type) and not _is_left_out(patch, options or {})]
    for patch in needed:
        patch.apply()
    return [patch.describe() for patch in needed]


def _is_left_out(patch: Patch, options: Mapping[str, str]) -> bool:
    if patch.option is None or patch.option not in options:
        return False
    if options[patch.option] != "as_is":
        raise ValueError(f"option {patch.option}={options[patch.option]}: the only value is as_is")
    return True
