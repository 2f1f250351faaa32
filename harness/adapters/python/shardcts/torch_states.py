"""Operations on state dicts of models."""

from __future__ import annotations

import io

import torch
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
        arguments = {"prefix": prefix} if prefix else {}  # after dsd.patch_model_state_dict it takes none
        module = torch_modules.place_at(self._model(model), path).outermost if path else self._model(model)
        return self._tensors.tree_to_values(module.state_dict(**arguments))

    @operation("model.load_state_dict")
    def model_load_state_dict(self, model: Handle, state_dict: dict, strict: bool = True, assign: bool = False) -> dict:
        converted = {name: self._tensors.to_torch(value) for name, value in state_dict.items()}
        arguments = {**({} if strict else {"strict": False}), **({"assign": True} if assign else {})}
        result = self._model(model).load_state_dict(converted, **arguments)
        if result is None:  # after dsd.patch_model_state_dict
            return {"missing_keys": [], "unexpected_keys": []}
        return {"missing_keys": list(result.missing_keys), "unexpected_keys": list(result.unexpected_keys)}

    @operation("state.serialize")
    def state_serialize(self, state_dict: dict) -> bytes:
        file = io.BytesIO()
        torch.save(self._tensors.tree_to_torch(state_dict), file)
        return file.getvalue()

    @operation("state.deserialize")
    def state_deserialize(self, data: bytes) -> dict:
        with torch.serialization.safe_globals(_CLASSES_IN_FILES):
            loaded = torch.load(io.BytesIO(data), weights_only=True)
        return self._tensors.tree_to_values(loaded)
