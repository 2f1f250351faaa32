"""hostdev: an accelerator that is emulated over host memory. Importing this package registers the device type "hostdev" and
the c10d backend "hostccl", as the package of a vendor does.

It is no GPU, and what runs on it is no result of one. It is as strict as one: host code that touches device memory ends
with a segmentation fault, work is done late, and what is not there yet is poison (NaN).

Environment: SHARDCTS_HOSTDEV_DEVICES (default 8), SHARDCTS_HOSTDEV_LATE (all, none, or a seed), SHARDCTS_HOSTDEV_SPLITTING
(1: groups can be split), SHARDCTS_HOSTDEV_FAIL (RANK:N: that rank's Nth collective fails).
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

from shardcts_hostdev import _hostdev, device_module

NAME = "hostdev"
BACKEND = "hostccl"
LOCAL_BACKEND = "hostlocal"


def _make_backend(options, _backend_options=None):
    """Of c10d's extended interface: gloo carries the bytes."""
    carrier = dist.ProcessGroupGloo(options.store, options.group_rank, options.group_size, options.timeout)
    return _hostdev.make_hostccl(options.group_rank, options.group_size, carrier)


def _make_local_backend(options, _backend_options=None):
    """The same over the shared memory of the harness's communicator."""
    from shardcts_local import make_backend

    return _hostdev.make_hostccl(options.group_rank, options.group_size, make_backend(options))


_hostdev.settings()  # a wrong one ends the import
torch.utils.rename_privateuse1_backend(NAME)
torch._register_device_module(NAME, device_module)
torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)
sys.modules[f"torch.{NAME}"] = device_module
dist.Backend.register_backend(BACKEND, _make_backend, extended_api=True, devices=[NAME])  # the first is the default
dist.Backend.register_backend(LOCAL_BACKEND, _make_local_backend, extended_api=True, devices=[NAME])
