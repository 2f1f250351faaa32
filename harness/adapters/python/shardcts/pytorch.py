"""The base class of adapters whose library works on PyTorch's modules and optimizers (docs/pytorch_adapters.md)."""

from __future__ import annotations

import gc
import platform

import torch

from shardcts import patches, torch_devices, torch_modules, torch_process_group
from shardcts.adapter import Adapter, NotSupported, operation
from shardcts.handles import Handles
from shardcts.torch_dsd import StateDictApiOperations
from shardcts.torch_fully_shard import FullyShardOperations
from shardcts.torch_models import ModelOperations
from shardcts.torch_optimizers import OptimizerOperations
from shardcts.torch_states import StateOperations
from shardcts.torch_tensors import GroupOperations, MeshOperations, TensorOperations
from shardcts.torch_values import GroupRegistry, MeshRegistry, TensorConversion
from shardcts.torch_wrappers import WrapperOperations

__all__ = [
    "FullyShardOperations",
    "NotSupported",
    "PyTorchAdapter",
    "StateDictApiOperations",
    "TensorConversion",
    "operation",
]


class PyTorchAdapter(
    MeshOperations,
    GroupOperations,
    TensorOperations,
    ModelOperations,
    WrapperOperations,
    StateOperations,
    OptimizerOperations,
    Adapter,
):
    """Everything that is PyTorch's whatever shards the model: models, forward and backward, optimizers, values, meshes,
    groups, seeds, clones, bytes. A library overrides what differs: `wrap`, `state_dict`, `load_state_dict`, `gradient`,
    `make_optimizer`, `optimizer_state`, `load_optimizer_state`, `conversion`; or an operation.

    Options: import (the module that brings the device type), backend (default: PyTorch's for the device), bind (yes, no:
    whether the default group is bound to the device; default: where its backend can split groups), share (yes: ranks share
    devices where there are too few; default: that is an error), timeout_s (of collectives, default 300). If `based_on` is
    "torch", PyTorch's own sharding is under test, too: it is patched as far as the device needs it, and optim_gather and
    grad_writeback (as_is) leave the patch of that name out.
    """

    contract_version = 1
    conversion = TensorConversion  # between the contract's tensors and the library's
    # Classes that stand around a module: {class: (the contract's wrapper, the attribute that holds the module)}. No path
    # and no name of a parameter shows them. Where two objects make one wrapper, the inner one's name is None.
    wrapper_classes: dict[type[torch.nn.Module], tuple[str | None, str]] = {}

    def __init__(self, rank: int, world_size: int, device: str, options: dict[str, str]):
        torch_devices.bring(device, options.get("import"))
        if self.based_on == "torch":
            self.patches = [*self.patches, *patches.apply_needed(device, options)]
        torch_modules.know_wrappers(self.wrapper_classes)
        group = torch_process_group.set_up(rank, world_size, device, options)
        self.rank, self.world_size, self.device, self.backend = rank, world_size, group.device, group.backend
        self.devices = [device] if device == "cpu" else [device, "cpu"]
        self.notes = {
            **self.notes,
            "backend": group.backend,
            "device": str(group.device),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        if device_name := torch_devices.name_of(group.device):
            self.notes["device_name"] = device_name
        self.handles = Handles()
        self.meshes = MeshRegistry(device, world_size)
        self.groups = GroupRegistry(device)
        self.tensors = self.conversion(self.meshes, self.groups)
        # What exists now stays: later collections, one for each test, need not look at it again.
        gc.collect()
        gc.freeze()

    @operation("implementation.reset")
    def reset(self) -> None:
        self.handles.drop_all()
        gc.collect()  # modules and their hooks form cycles, which would keep storage alive into the next test
        gc.freeze()  # what is still there stays: later collections need not look at it again

    @operation("implementation.seed")
    def seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    @operation("implementation.random_state")
    def random_state(self) -> torch.Tensor:
        return torch.get_rng_state()

    def close(self) -> None:
        self.handles.drop_all()
        torch_process_group.tear_down()
