"""PyTorch itself as an implementation: the oracle. Every operation calls PyTorch's own API, nothing is re-made."""

from __future__ import annotations

import gc
import platform

import torch

from shardcts import patches, torch_devices, torch_process_group, torch_storage
from shardcts.adapter import Adapter, operation
from shardcts.handles import Handles
from shardcts.torch_dsd import StateDictApiOperations
from shardcts.torch_fsdp import FsdpOperations, GroupOperations
from shardcts.torch_fsdp_optim import FsdpOptimOperations
from shardcts.torch_models import ModelOperations
from shardcts.torch_optimizers import OptimizerOperations
from shardcts.torch_states import StateOperations
from shardcts.torch_tensors import MeshOperations, TensorOperations
from shardcts.torch_values import GroupRegistry, MeshRegistry, TensorConversion


class TorchAdapter(
    MeshOperations,
    GroupOperations,
    TensorOperations,
    ModelOperations,
    FsdpOperations,
    FsdpOptimOperations,
    StateOperations,
    StateDictApiOperations,
    torch_storage.StorageOperations,
    OptimizerOperations,
    Adapter,
):
    """Options: import (the module that brings the device type), backend (default: PyTorch's for the device), bind (yes, no:
    whether the default group is bound to the device; default: where its backend can split groups), share (yes: ranks share
    devices where there are too few; default: that is an error), timeout_s (of collectives, default 300), optim_gather and
    grad_writeback (as_is: leaves the patch of that name out)."""

    name = "torch"
    version = torch.__version__
    based_on = "torch"
    capabilities = [
        "core",
        "dtensor",
        "fsdp2",
        "hsdp",
        "tp",
        "cpu_offload_policy",
        "meta_device",
        "optimizer",
        "named_optimizer",
        "fsdp1",
        "fsdp1_optim",
        "dsd",
        "sharded_tensor",
        "activation_checkpoint",
        "ddp",
        "process_groups",
        "serialization",
        "inspection",
        "storage",
        "storage_async",
        "storage_planning",
        *(["storage_safetensors"] if torch_storage.has_safetensors else []),
    ]

    def __init__(self, rank: int, world_size: int, device: str, options: dict[str, str]):
        self._device_type = device
        torch_devices.bring(device, options.get("import"))
        self.patches = patches.apply_needed(device, options)
        group = torch_process_group.set_up(rank, world_size, device, options)
        self._device = group.device
        self.devices = [device] if device == "cpu" else [device, "cpu"]
        self.notes = {
            "backend": group.backend,
            "device": str(group.device),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        if device_name := torch_devices.name_of(group.device):
            self.notes["device_name"] = device_name
        self._can_be_late = torch_process_group.can_be_late(group.backend)
        if self._can_be_late:
            self.capabilities = [*self.capabilities, "delayed_transport"]
        self._handles = Handles()
        self._saves = {}  # those that nobody has waited for, by handle: which of the groups they use
        self._background_groups = []  # they outlive a test, since groups are expensive
        self._meshes = MeshRegistry(device, world_size)
        self._groups = GroupRegistry(device)
        self._tensors = TensorConversion(self._meshes, self._groups)
        # What exists now stays: later collections, one for each test, need not look at it again.
        gc.collect()
        gc.freeze()

    @operation("implementation.reset")
    def reset(self) -> None:
        if self._can_be_late:
            torch_process_group.delay(None)
        self._end_saves()
        self._handles.drop_all()
        gc.collect()  # modules and their hooks form cycles, which would keep storage alive into the next test
        gc.freeze()  # what is still there stays: later collections need not look at it again

    @operation("implementation.seed")
    def seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    @operation("implementation.random_state")
    def random_state(self) -> torch.Tensor:
        return torch.get_rng_state()

    @operation("implementation.delay")
    def delay(self, seed: int) -> None:
        if not self._can_be_late:
            raise NotImplementedError("the transport is delayed with the option backend=local")
        if seed < 0:
            raise ValueError(f"a seed is 0 or more, not {seed}")
        torch_process_group.delay(seed)

    def close(self) -> None:
        self._end_saves()
        self._handles.drop_all()
        torch_process_group.tear_down()
