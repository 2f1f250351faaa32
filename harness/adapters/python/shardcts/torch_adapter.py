"""PyTorch itself as an implementation: the oracle. Every operation calls PyTorch's own API, nothing is re-made."""

from __future__ import annotations

import torch

from shardcts import torch_process_group, torch_storage, torch_storage_plans
from shardcts.adapter import operation
from shardcts.pytorch import PyTorchAdapter
from shardcts.torch_dsd import StateDictApiOperations
from shardcts.torch_fsdp import FsdpOperations
from shardcts.torch_fsdp_optim import FsdpOptimOperations
from shardcts.torch_fully_shard import FullyShardOperations


class TorchAdapter(
    FullyShardOperations,
    FsdpOperations,
    FsdpOptimOperations,
    StateDictApiOperations,
    torch_storage.StorageOperations,
    torch_storage_plans.StoragePlanningOperations,
    PyTorchAdapter,
):
    """Options: those of PyTorchAdapter."""

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
        "layout.pytorch",
        "activation_checkpoint",
        "ddp",
        "process_groups",
        "serialization",
        "inspection",
        "storage",
        "storage_async",
        "storage_process",
        "storage_dcp",
        "storage_planning",
        "storage_convert",
        "storage_faults",
        *(["storage_safetensors"] if torch_storage.has_safetensors else []),
        *(["storage_streams"] if torch_storage.has_streams else []),
    ]

    def __init__(self, rank: int, world_size: int, device: str, options: dict[str, str]):
        super().__init__(rank, world_size, device, options)
        self._can_be_late = torch_process_group.can_be_late(self.backend)
        if self._can_be_late:
            self.capabilities = [*self.capabilities, "delayed_transport"]
        self._failure_to_come = None  # of the next save or load
        self._plan_keys = set()  # of series of plans
        self._saves = {}  # those that nobody has waited for, by handle: which of the groups they use
        self._background_groups = []  # they outlive a test, since groups are expensive

    @operation("implementation.reset")
    def reset(self) -> None:
        if self._can_be_late:
            torch_process_group.delay(None)
        self._end_saves()
        self._end_series()
        self._failure_to_come = None
        super().reset()

    @operation("implementation.delay")
    def delay(self, seed: int) -> None:
        if not self._can_be_late:
            raise NotImplementedError("the transport is delayed with the option backend=local")
        if seed < 0:
            raise ValueError(f"a seed is 0 or more, not {seed}")
        torch_process_group.delay(seed)

    def close(self) -> None:
        self._end_saves()
        self._end_process()
        super().close()
