"""DTensor, ShardedTensor, DeviceMesh and process groups of PyTorch as contract values and back."""

from __future__ import annotations

import math
import re

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._shard.metadata import ShardMetadata as TorchShardMetadata
from torch.distributed._shard.sharded_tensor import Shard as TorchShard
from torch.distributed._shard.sharded_tensor import ShardedTensor, ShardedTensorMetadata
from torch.distributed._shard.sharded_tensor.metadata import TensorProperties
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta
from torch.distributed.tensor.placement_types import _StridedShard

from shardcts.torch_process_group import calm_readers
from shardcts.values import DTensorValue, LocalShard, MeshLayout, ShardedTensorValue, ShardMetadata

_STRIDED_SHARD = re.compile(r"_S\((-?\d+),\s*(\d+)\)")
_SHARD = re.compile(r"S\((-?\d+)\)")
_PARTIAL = re.compile(r"P\((\w+)\)")


def placement_text(placement: Placement) -> str:
    # A strided shard is a Shard as well in some versions of PyTorch: it comes first.
    if isinstance(placement, _StridedShard):
        return f"_S({placement.dim},{placement.split_factor})"
    if isinstance(placement, Shard):
        return f"S({placement.dim})"
    if isinstance(placement, Replicate):
        return "R"
    if isinstance(placement, Partial):
        return f"P({placement.reduce_op})"
    raise TypeError(f"no text form for the placement {placement!r}")


def parse_placement(text: str) -> Placement:
    if text == "R":
        return Replicate()
    if match := _SHARD.fullmatch(text):
        return Shard(int(match[1]))
    if match := _PARTIAL.fullmatch(text):
        return Partial(match[1])
    if match := _STRIDED_SHARD.fullmatch(text):
        return _StridedShard(int(match[1]), split_factor=int(match[2]))
    raise ValueError(f"'{text}' is no placement; possible: S(dim), R, P(op), _S(dim,split_factor)")


def mesh_layout(mesh: DeviceMesh) -> MeshLayout:
    return MeshLayout(
        device_type=mesh.device_type,
        shape=list(mesh.mesh.shape),
        dim_names=list(mesh.mesh_dim_names or ()),
        ranks=mesh.mesh.flatten().tolist(),
    )


class MeshRegistry:
    """The meshes that exist, by layout. They and their process groups live as long as the pool: making groups is slow,
    and every rank finds the same ones at the same time."""

    def __init__(self, device_type: str, world_size: int):
        self._device_type = device_type
        self._world_size = world_size
        self._by_layout: dict[tuple, DeviceMesh] = {}
        # PyTorch computes a mesh's ranks anew each time they are asked for. The meshes are kept, so that no id is used twice.
        self._layout_by_id: dict[int, tuple[DeviceMesh, MeshLayout]] = {}

    def init(self, shape: list[int], dim_names: list[str] | None, ranks: list[int] | None = None) -> DeviceMesh:
        """*Collective* over the world the first time."""
        members = list(range(math.prod(shape))) if ranks is None else ranks
        if ranks is not None and (len(set(ranks)) != len(ranks) or not set(ranks) <= set(range(self._world_size))):
            raise ValueError("ranks of a mesh must be different ranks of the world")
        layout = MeshLayout(self._device_type, shape, dim_names or [], members)
        mesh = self._by_layout.get(layout.key())
        if mesh is None:
            names = tuple(dim_names) if dim_names else None
            if ranks is None:
                mesh = init_device_mesh(self._device_type, tuple(shape), mesh_dim_names=names)
            else:
                mesh = DeviceMesh(self._device_type, torch.tensor(ranks).reshape(shape), mesh_dim_names=names)
            calm_readers()
            self._by_layout[layout.key()] = mesh
        return mesh

    def note(self, mesh: DeviceMesh) -> MeshLayout:
        """Local. Remembers a mesh that PyTorch made, so that tensors on it can come back."""
        known = self._layout_by_id.get(id(mesh))
        if known is not None:
            return known[1]
        layout = mesh_layout(mesh)
        self._layout_by_id[id(mesh)] = (mesh, layout)
        self._by_layout.setdefault(layout.key(), mesh)
        return layout

    def find(self, layout: MeshLayout) -> DeviceMesh:
        """*Collective* for a mesh over the whole world that was never seen (a recording brings such)."""
        mesh = self._by_layout.get(layout.key())
        if mesh is not None:
            return mesh
        if layout.device_type == self._device_type and layout.ranks == list(range(self._world_size)):
            return self.init(layout.shape, layout.dim_names)
        raise ValueError(f"no mesh {layout.shape} {layout.dim_names} of ranks {layout.ranks} exists here")


class GroupRegistry:
    """The process groups that exist, by members. They live as long as the pool."""

    def __init__(self, device_type: str):
        self._device_type = device_type
        self._known: dict[tuple, dist.ProcessGroup] = {}

    def new(self, ranks: list[int], per_device_backends: bool) -> dist.ProcessGroup:
        """*Collective* over the world the first time. On ranks that are no members it is PyTorch's stand-in."""
        key = (tuple(ranks), per_device_backends)
        if key not in self._known:
            backend = dist.get_backend()
            if per_device_backends:
                # PyTorch refuses a device type that is named twice, so a CPU has one entry.
                backend = ",".join(f"{device}:{name}" for device, name in {"cpu": "gloo", self._device_type: backend}.items())
            self._known[key] = dist.new_group(ranks, backend=backend)
            calm_readers()
        return self._known[key]

    def find(self, ranks: list[int]) -> dist.ProcessGroup:
        """The group with these members in this order. Raises ValueError when there is none."""
        if ranks == list(range(dist.get_world_size())):
            return dist.group.WORLD
        for (members, _), group in self._known.items():
            if list(members) == ranks:
                return group
        raise ValueError(f"no process group of the ranks {ranks} exists here")


class TensorConversion:
    """Tensors between the contract and PyTorch. Local unless a mesh is new."""

    def __init__(self, meshes: MeshRegistry, groups: GroupRegistry):
        self._meshes = meshes
        self._groups = groups

    def to_value(self, tensor):
        """The value of a DTensor or ShardedTensor; anything else unchanged. Shares storage; a plain tensor keeps its graph, a
        DTensor's value holds its local tensor without one."""
        if isinstance(tensor, ShardedTensor):
            return _sharded_to_value(tensor)
        if not isinstance(tensor, DTensor):
            return tensor
        return DTensorValue(
            local=tensor._local_tensor,
            mesh=self._meshes.note(tensor.device_mesh),
            placements=[placement_text(placement) for placement in tensor.placements],
            shape=list(tensor.shape),
            stride=list(tensor.stride()),
            requires_grad=tensor.requires_grad,
            is_parameter=isinstance(tensor, nn.Parameter),
        )

    def to_torch(self, value):
        """A DTensor or ShardedTensor for its value, sharing its local tensors; anything else unchanged."""
        if isinstance(value, ShardedTensorValue):
            return self._sharded_to_torch(value)
        if not isinstance(value, DTensorValue):
            return value
        tensor = _dtensor(
            value.local,
            self._meshes.find(value.mesh),
            tuple(parse_placement(text) for text in value.placements),
            TensorMeta(torch.Size(value.shape), tuple(value.stride), value.local.dtype),
        )
        if value.is_parameter:
            return nn.Parameter(tensor, requires_grad=value.requires_grad)
        return tensor.requires_grad_() if value.requires_grad else tensor

    def whole(self, tensor) -> torch.Tensor:
        """*Collective.* The whole tensor of what `to_torch` gives for a DTensorValue. PyTorch's DTensor knows only its own
        cut: a library with another one overrides it."""
        return tensor.full_tensor()

    def tree_to_torch(self, tree):
        """Nested dicts and lists with every tensor value converted."""
        if isinstance(tree, dict):
            return {key: self.tree_to_torch(entry) for key, entry in tree.items()}
        if isinstance(tree, list | tuple):
            return [self.tree_to_torch(entry) for entry in tree]
        return self.to_torch(tree)

    def tree_to_values(self, tree):
        if isinstance(tree, dict):
            return {key: self.tree_to_values(entry) for key, entry in tree.items()}
        if isinstance(tree, list | tuple):
            return [self.tree_to_values(entry) for entry in tree]
        return self.to_value(tree)

    def dict_to_values(self, tensors) -> dict:
        return {name: self.to_value(tensor) for name, tensor in tensors}

    def _sharded_to_torch(self, value: ShardedTensorValue) -> ShardedTensor:
        shards = [TorchShard(shard.tensor, _torch_metadata(shard.metadata)) for shard in value.local_shards]
        metadata = [_torch_metadata(metadata) for metadata in value.metadata]
        dtype = getattr(torch, value.dtype)
        return sharded_of(shards, metadata, torch.Size(value.shape), dtype, self._groups.find(value.ranks))


def _dtensor(local: torch.Tensor, mesh: DeviceMesh, placements: tuple[Placement, ...], meta: TensorMeta) -> DTensor:
    """Over `local` itself, wherever it is: from_local would move a shard that was offloaded to the mesh's device."""
    if local.grad_fn is not None:
        return DTensor.from_local(local, mesh, placements, run_check=False, shape=meta.shape, stride=meta.stride)
    return DTensor(local, DTensorSpec(mesh, placements, tensor_meta=meta), requires_grad=local.requires_grad)


def sharded_of(
    shards: list[TorchShard],
    shards_metadata: list[TorchShardMetadata],
    size: torch.Size,
    dtype: torch.dtype,
    group: dist.ProcessGroup,
) -> ShardedTensor:
    """Local. Its properties are those of the local shards."""
    properties = TensorProperties(
        dtype=dtype,
        requires_grad=any(shard.tensor.requires_grad for shard in shards),
        pin_memory=any(shard.tensor.is_pinned() for shard in shards),
    )
    if shards and hasattr(properties, "strides"):  # PyTorch 2.15
        properties.strides = shards[0].tensor.stride()
    metadata = ShardedTensorMetadata(shards_metadata, size, properties)
    return ShardedTensor._init_from_local_shards_and_global_metadata(shards, metadata, process_group=group)


def with_dtypes(fields: dict) -> dict:
    """The fields of a record, dtypes as PyTorch's objects."""
    return {name: getattr(torch, value) if name.endswith("_dtype") else value for name, value in fields.items()}


def _sharded_to_value(tensor: ShardedTensor) -> ShardedTensorValue:
    metadata = tensor.metadata()
    return ShardedTensorValue(
        shape=list(tensor.size()),
        metadata=[_metadata_value(shard) for shard in metadata.shards_metadata],
        local_shards=[LocalShard(_metadata_value(shard.metadata), shard.tensor) for shard in tensor.local_shards()],
        dtype=str(metadata.tensor_properties.dtype).removeprefix("torch."),
        ranks=dist.get_process_group_ranks(tensor._process_group),
    )


def _metadata_value(metadata: TorchShardMetadata) -> ShardMetadata:
    placement = metadata.placement
    return ShardMetadata(
        list(metadata.shard_offsets), list(metadata.shard_sizes), placement.rank(), str(placement.device())
    )


def _torch_metadata(metadata: ShardMetadata) -> TorchShardMetadata:
    return TorchShardMetadata(metadata.offsets, metadata.sizes, f"rank:{metadata.rank}/{metadata.device}")
