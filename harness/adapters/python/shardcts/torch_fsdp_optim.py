"""Operations on the optimizer state of FullyShardedDataParallel (FSDP1)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, OptimStateKeyType

from shardcts.adapter import operation
from shardcts.torch_optimizers import parameters_by_name, with_clean_names, with_current_names
from shardcts.values import Handle


class FsdpOptimOperations:
    """State dicts of an optimizer by original parameter names, and back. Every operation is one call of PyTorch."""

    @operation("fsdp.optim_state_dict")
    def fsdp_optim_state_dict(
        self, model: Handle, optimizer: Handle, state_dict: dict | None = None, group: Handle | None = None
    ) -> dict:
        found = self.optimizer_of(optimizer)
        given = None if state_dict is None else with_current_names(found, self.tensors.tree_to_torch(state_dict))
        return self.tensors.tree_to_values(
            FullyShardedDataParallel.optim_state_dict(
                self.model_of(model), found, optim_state_dict=given, group=self._group_or_none(group)
            )
        )

    @operation("fsdp.optim_state_dict_to_load")
    def fsdp_optim_state_dict_to_load(
        self,
        model: Handle,
        optimizer: Handle,
        state_dict: dict,
        is_named_optimizer: bool = False,
        load_directly: bool = False,
        group: Handle | None = None,
    ) -> dict:
        found = self.optimizer_of(optimizer)
        result = FullyShardedDataParallel.optim_state_dict_to_load(
            self.model_of(model),
            found,
            self.tensors.tree_to_torch(state_dict),
            is_named_optimizer=is_named_optimizer,
            load_directly=load_directly,
            group=self._group_or_none(group),
        )
        return self.tensors.tree_to_values(with_clean_names(found, result) if is_named_optimizer else result)

    @operation("fsdp.full_optim_state_dict")
    def fsdp_full_optim_state_dict(
        self,
        model: Handle,
        optimizer: Handle,
        optim_input: list | None = None,
        rank0_only: bool = True,
        group: Handle | None = None,
    ) -> dict:
        module = self.model_of(model)
        return self.tensors.tree_to_values(
            FullyShardedDataParallel.full_optim_state_dict(
                module,
                self.optimizer_of(optimizer),
                optim_input=_optim_input(module, optim_input),
                rank0_only=rank0_only,
                group=self._group_or_none(group),
            )
        )

    @operation("fsdp.sharded_optim_state_dict")
    def fsdp_sharded_optim_state_dict(self, model: Handle, optimizer: Handle, group: Handle | None = None) -> dict:
        return self.tensors.tree_to_values(
            FullyShardedDataParallel.sharded_optim_state_dict(
                self.model_of(model), self.optimizer_of(optimizer), group=self._group_or_none(group)
            )
        )

    @operation("fsdp.shard_full_optim_state_dict")
    def fsdp_shard_full_optim_state_dict(
        self, state_dict: dict, model: Handle, optim_input: list | None = None, optimizer: Handle | None = None
    ) -> dict:
        module = self.model_of(model)
        return self.tensors.tree_to_values(
            FullyShardedDataParallel.shard_full_optim_state_dict(
                self.tensors.tree_to_torch(state_dict),
                module,
                optim_input=_optim_input(module, optim_input),
                optim=self._optimizer_or_none(optimizer),
            )
        )

    @operation("fsdp.scatter_full_optim_state_dict")
    def fsdp_scatter_full_optim_state_dict(
        self,
        state_dict: dict | None,
        model: Handle,
        optim_input: list | None = None,
        optimizer: Handle | None = None,
        group: Handle | None = None,
    ) -> dict:
        module = self.model_of(model)
        return self.tensors.tree_to_values(
            FullyShardedDataParallel.scatter_full_optim_state_dict(
                None if state_dict is None else self.tensors.tree_to_torch(state_dict),
                module,
                optim_input=_optim_input(module, optim_input),
                optim=self._optimizer_or_none(optimizer),
                group=self._group_or_none(group),
            )
        )

    @operation("fsdp.flatten_sharded_optim_state_dict")
    def fsdp_flatten_sharded_optim_state_dict(self, state_dict: dict, model: Handle, optimizer: Handle) -> dict:
        return self.tensors.tree_to_values(
            FullyShardedDataParallel.flatten_sharded_optim_state_dict(
                self.tensors.tree_to_torch(state_dict), self.model_of(model), self.optimizer_of(optimizer)
            )
        )

    @operation("fsdp.rekey_optim_state_dict")
    def fsdp_rekey_optim_state_dict(
        self,
        state_dict: dict,
        key_type: str,
        model: Handle,
        optim_input: list | None = None,
        optimizer: Handle | None = None,
    ) -> dict:
        module = self.model_of(model)
        return self.tensors.tree_to_values(
            FullyShardedDataParallel.rekey_optim_state_dict(
                self.tensors.tree_to_torch(state_dict),
                OptimStateKeyType[key_type],
                module,
                optim_input=_optim_input(module, optim_input),
                optim=self._optimizer_or_none(optimizer),
            )
        )

    def _optimizer_or_none(self, handle: Handle | None) -> torch.optim.Optimizer | None:
        return None if handle is None else self.optimizer_of(handle)

    def _group_or_none(self, handle: Handle | None) -> dist.ProcessGroup | None:
        return None if handle is None else self.group_of(handle)


def _optim_input(module: nn.Module, given: list | None) -> list | None:
    """What an optimizer was made of: parameters, or dicts of parameter groups."""
    if given is None:
        return None
    by_name = parameters_by_name(module)
    return [
        by_name[entry] if isinstance(entry, str) else {"params": [by_name[name] for name in entry["parameters"]]}
        for entry in given
    ]
