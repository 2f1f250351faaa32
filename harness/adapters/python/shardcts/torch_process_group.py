"""The default process group of PyTorch for one rank pool."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.tensor import DTensor

from shardcts import torch_devices

_DEFAULT_TIMEOUT_SECONDS = 300

# The thread of each gloo group that reads what peers send. While something has come for which no call has asked yet, it
# asks the kernel again and again: it would take the processor from the very rank that it waits for.
_GLOO_READER = "gloo_tcp_loop"
_READER_NICENESS = 19


@dataclass(frozen=True)
class DefaultGroup:
    """What was set up: the backend and this rank's device ("cpu", "cuda:1")."""

    backend: str
    device: torch.device


def set_up(rank: int, world_size: int, device_type: str, options: dict[str, str]) -> DefaultGroup:
    """*Collective.* Options: backend, bind, share, timeout_s, store (the rendezvous file), local_rank.

    Raises ValueError, one line, for a device or a backend that is not here.
    """
    bind = _bind_option(device_type, options)
    may_share = _yes_or_no("share", options) is True
    device = torch_devices.local_device(device_type, int(options.get("local_rank", "0")), may_share)
    backend = torch_devices.backend_for(device_type, options.get("backend"))
    dist.init_process_group(
        backend,
        store=dist.FileStore(options["store"], world_size),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=float(options.get("timeout_s", _DEFAULT_TIMEOUT_SECONDS))),
        # Binds the rank to its accelerator at once, so that no collective guesses it.
        device_id=device if device_type != "cpu" and bind is not False else None,
    )
    if bind is None and not dist.group.WORLD._get_backend(device).supports_splitting:
        # PyTorch makes the groups of a mesh by splitting a bound group, and does not ask whether it can be split.
        dist.group.WORLD.bound_device_id = None
    calm_readers()
    return DefaultGroup(backend, device)


@contextlib.contextmanager
def in_process_group(exists: bool) -> Iterator[None]:
    """Without it PyTorch sees what it would see if the group had never been made; afterwards it is there again."""
    if exists:
        yield
        return
    group = distributed_c10d.GroupMember.WORLD
    distributed_c10d._update_default_pg(None)
    try:
        yield
    finally:
        distributed_c10d._update_default_pg(group)


def calm_readers() -> None:
    """Local. After groups were made: their reading threads give way to others, on systems that tell of threads.

    A thread gives itself its name when it first runs. That of a rank alone in its group may not have run yet, and is left
    as it is: it has no peers to read from.
    """
    _set_niceness_of_readers(_READER_NICENESS)


def _wake_readers() -> None:
    """Local. The thread of a process that ends last frees its memory, which takes long where it gives way to all others.
    Without the right to it they stay as they are."""
    _set_niceness_of_readers(os.getpriority(os.PRIO_PROCESS, os.getpid()))


def _set_niceness_of_readers(niceness: int) -> None:
    for name in Path("/proc/self/task").glob("*/comm"):
        try:
            if name.read_text().strip() == _GLOO_READER:
                os.setpriority(os.PRIO_PROCESS, int(name.parent.name), niceness)
        except OSError:  # it has ended, or may not become less nice
            continue


def can_be_late(backend: str) -> bool:
    """Whether calls of the backend can be delayed: that needs a transport of ShardCTS's own."""
    return backend in torch_devices.OWN_BACKENDS


def delay(seed: int | None) -> None:
    """Local. Later calls of all groups are late, as the seed decides; None: none is."""
    from shardcts_local import set_delay

    set_delay(dist.get_rank(), seed)


def tear_down() -> None:
    _wake_readers()
    if dist.is_initialized():
        dist.destroy_process_group()
    _forget_layouts()


def _forget_layouts() -> None:
    """DTensor remembers what operations make of layouts, with the first mesh of each: its groups are gone, but a mesh
    that is made later counts as the same one."""
    DTensor._op_dispatcher.sharding_propagator.propagate_op_sharding.cache_clear()
    clear_in_cpp = getattr(torch._C, "_clear_DTensor_sharding_propagator_cache", None)
    if clear_in_cpp is not None:
        clear_in_cpp()


def _bind_option(device_type: str, options: dict[str, str]) -> bool | None:
    """Whether the default group is bound to the rank's device; None: where its backend can split groups."""
    bind = _yes_or_no("bind", options)
    if device_type != "cpu":
        return bind
    if bind:
        raise ValueError("option bind=yes: a group cannot be bound to the CPU")
    return False


def _yes_or_no(name: str, options: dict[str, str]) -> bool | None:
    text = options.get(name)
    if text not in (None, "yes", "no"):
        raise ValueError(f"option {name}={text}: possible: yes, no")
    return None if text is None else text == "yes"
