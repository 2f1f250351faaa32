"""The c10d backend "local", over the shared memory of the harness's communicator. Importing this package registers it
for the CPU, and for the device types that PyTorch knows by then. harness/adapters/local_backend/backend.h says what it
does, and what it can be commanded to do."""

from __future__ import annotations

import torch
import torch.distributed as dist

from shardcts_local import _local

NAME = "local"


def make_backend(options, _backend_options=None):
    """Of c10d's extended interface."""
    return _local.make_backend(options.store, options.group_rank, options.group_size, options.global_ranks_in_group,
                               options.timeout)


def set_delay(rank: int, seed: int | None) -> None:
    """By how much later calls of this process are late, as SHARDCTS_LOCAL_LATE; None: nothing is. `rank`: of the group of
    all ranks."""
    _local.set_delay(rank, seed)


_DEVICES = ["cpu", "cuda", "xpu", torch._C._get_privateuse1_backend_name()]
dist.Backend.register_backend(NAME, make_backend, extended_api=True, devices=_DEVICES)
