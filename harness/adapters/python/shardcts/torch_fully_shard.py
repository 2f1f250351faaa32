"""The wrapper fully_shard (FSDP2)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

from shardcts.torch_values import with_dtypes


class FullyShardOperations:
    def wrap(self, root: nn.Module, path: str, wrapper: str, options: dict) -> nn.Module:
        if wrapper != "fully_shard":
            return super().wrap(root, path, wrapper, options)
        fully_shard(root.get_submodule(path), **self.fully_shard_arguments(options))
        return root

    def fully_shard_arguments(self, options: dict) -> dict:
        """The keyword arguments of fully_shard; what the options do not name keeps PyTorch's default."""
        converters = {
            "mesh": self.mesh_of,
            "reshard_after_forward": bool,
            "shard_placement": lambda kind: _largest_dim,
            "offload_policy": _offload_policy,
            "mp_policy": lambda policy: MixedPrecisionPolicy(**with_dtypes(policy)),
        }
        arguments = {name: converters[name](value) for name, value in options.items()}
        if "shard_placement" in arguments:
            arguments["shard_placement_fn"] = arguments.pop("shard_placement")
        if "mesh" not in arguments and not self._default_mesh_is_ours():
            arguments["mesh"] = self._world_mesh()
        return arguments

    def _default_mesh_is_ours(self) -> bool:
        """PyTorch's default mesh is on the machine's accelerator, which need not be the device under test."""
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return (accelerator.type if accelerator else "cpu") == self.device.type

    def _world_mesh(self) -> DeviceMesh:
        return self.meshes.init([dist.get_world_size()], None)


def _largest_dim(parameter: nn.Parameter) -> Shard:
    return Shard(parameter.shape.index(max(parameter.shape)))


def _offload_policy(policy: dict) -> CPUOffloadPolicy:
    return CPUOffloadPolicy(**{name: value for name, value in policy.items() if name != "kind"})
