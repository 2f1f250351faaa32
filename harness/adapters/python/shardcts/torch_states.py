"""Operations on state dicts of models."""

from __future__ import annotations

import io

import torch
from torch import nn
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor, ShardedTensorMetadata
from torch.distributed._shard.sharded_tensor.metadata import MEM_FORMAT_ENCODING, TensorProperties
from torch.distributed._shard.sharding_spec import ChunkShardingSpec
from torch.distributed.remote_device import _remote_device

from shardcts import torch_modules
from shardcts.adapter import operation
from shardcts.values import Handle

# What a ShardedTensor's file names besides tensors; torch.load(weights_only=True) refuses everything else.
_CLASSES_IN_FILES = [
    Shard,
    ShardMetadata,
    ShardedTensor,
    ShardedTensor.ProcessGroupState,
    ShardedTensorMetadata,
    TensorProperties,
    MEM_FORMAT_ENCODING,
    ChunkShardingSpec,
    _remote_device,
    getattr,
]


class StateOperations:
    @operation("model.state_dict")
    def model_state_dict(self, model: Handle, prefix: str = "", path: str = "") -> dict:
        module = torch_modules.place_at(self.model_of(model), path).outermost if path else self.model_of(model)
        return self.tensors.tree_to_values(self.state_dict(module, prefix))

    @operation("model.load_state_dict")
    def model_load_state_dict(self, model: Handle, state_dict: dict, strict: bool = True, assign: bool = False) -> dict:
        converted = {name: self.tensors.to_torch(value) for name, value in state_dict.items()}
        missing, unexpected = self.load_state_dict(self.model_of(model), converted, strict, assign)
        return {"missing_keys": list(missing), "unexpected_keys": list(unexpected)}

    def state_dict(self, module: nn.Module, prefix: str = "") -> dict:
        """The module's state, as the library of the adapter takes it."""
        return module.state_dict(**({"prefix": prefix} if prefix else {}))  # after dsd.patch_model_state_dict: no prefix

    def load_state_dict(self, module: nn.Module, state_dict: dict, strict: bool, assign: bool) -> tuple[list, list]:
        """The other way. Returns missing and unexpected keys."""
        arguments = {**({} if strict else {"strict": False}), **({"assign": True} if assign else {})}
        result = module.load_state_dict(state_dict, **arguments)
        return ([], []) if result is None else tuple(result)  # None: after dsd.patch_model_state_dict

    @operation("state.serialize")
    def state_serialize(self, state_dict: dict) -> bytes:
        file = io.BytesIO()
        torch.save(self.tensors.tree_to_torch(state_dict), file)
        return file.getvalue()

    @operation("state.deserialize")
    def state_deserialize(self, data: bytes) -> dict:
        with torch.serialization.safe_globals(_CLASSES_IN_FILES):
            loaded = torch.load(io.BytesIO(data), weights_only=True)
        return self.tensors.tree_to_values(loaded)
