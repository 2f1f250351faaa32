"""The default process group of PyTorch for one rank pool."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

_DEFAULT_BACKENDS = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl", "hpu": "hccl"}
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
    """*Collective.* Options: backend, timeout_s, store (the rendezvous file), local_rank.

    Raises ValueError for a device that is not here.
    """
    local_rank = int(options.get("local_rank", "0"))
    device = _local_device(device_type, local_rank)
    backend = options.get("backend") or _DEFAULT_BACKENDS.get(device_type)
    if backend is None:
        raise ValueError(f"no default backend for device '{device_type}'; give one: backend=NAME")
    dist.init_process_group(
        backend,
        store=dist.FileStore(options["store"], world_size),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=float(options.get("timeout_s", _DEFAULT_TIMEOUT_SECONDS))),
        # Binds the rank to its accelerator at once, so that no collective guesses it.
        device_id=device if device_type != "cpu" else None,
    )
    calm_readers()
    return DefaultGroup(backend, device)


def calm_readers() -> None:
    """Local. After groups were made: their reading threads give way to others, on systems that tell of threads.

    A thread gives itself its name when it first runs. That of a rank alone in its group may not have run yet, and is left
    as it is: it has no peers to read from.
    """
    for name in Path("/proc/self/task").glob("*/comm"):
        try:
            thread = int(name.parent.name)
            if name.read_text().strip() == _GLOO_READER and os.getpriority(os.PRIO_PROCESS, thread) < _READER_NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, _READER_NICENESS)
        except OSError:  # it has ended
            continue


def tear_down() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _local_device(device_type: str, local_rank: int) -> torch.device:
    if device_type == "cpu":
        return torch.device("cpu")
    try:
        count = torch.get_device_module(device_type).device_count()
    except (AttributeError, RuntimeError) as error:
        raise ValueError(f"PyTorch {torch.__version__} knows no device type '{device_type}'") from error
    if local_rank >= count:
        raise ValueError(f"rank with local rank {local_rank} needs {device_type}:{local_rank}, {count} are there")
    device = torch.device(device_type, local_rank)
    torch.get_device_module(device_type).set_device(device)
    return device
