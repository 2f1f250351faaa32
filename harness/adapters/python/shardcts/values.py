"""What crosses the border between the suite and an adapter, beside plain Python values and torch tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Handle:
    """Names an object that lives inside the adapter; valid until `implementation.reset`."""

    kind: str  # "model", "mesh", "optimizer", "group"
    id: int


@dataclass
class MeshLayout:
    """A device mesh as a value: an n-dimensional array of global ranks, row-major."""

    device_type: str
    shape: list[int]
    dim_names: list[str]  # empty, or one for each dimension
    ranks: list[int]

    def key(self) -> tuple:
        return (self.device_type, tuple(self.shape), tuple(self.dim_names), tuple(self.ranks))


@dataclass(eq=False)
class DTensorValue:
    """A distributed tensor as one rank sees it."""

    local: torch.Tensor  # this rank's part without padding, sharing the implementation's storage
    mesh: MeshLayout
    placements: list[str]  # one for each mesh dimension: "S(0)", "R", "P(sum)", "_S(0,2)"
    shape: list[int]  # global
    stride: list[int]  # global, of the unsharded tensor
    requires_grad: bool = False
    is_parameter: bool = False


@dataclass
class ShardMetadata:
    offsets: list[int]
    sizes: list[int]
    rank: int
    device: str


@dataclass(eq=False)
class LocalShard:
    metadata: ShardMetadata
    tensor: torch.Tensor


@dataclass(eq=False)
class ShardedTensorValue:
    """torch.distributed._shard.sharded_tensor: the metadata of all shards and the tensors of the local ones."""

    shape: list[int]  # global
    metadata: list[ShardMetadata] = field(default_factory=list)
    local_shards: list[LocalShard] = field(default_factory=list)
    dtype: str = "float32"  # also of a rank that has no shard
    ranks: list[int] = field(default_factory=list)  # global ranks of its process group, in the group's order
