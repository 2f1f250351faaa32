"""Operations on device meshes, process groups and tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch.distributed import _state_dict_utils
from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor
from torch.distributed._state_dict_utils import _gather_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor._utils import _compute_local_shape_and_global_offset

from shardcts.adapter import operation
from shardcts.torch_values import mesh_layout, parse_placement, sharded_of
from shardcts.values import DTensorValue, Handle, ShardedTensorValue


def _for_each_entry(value, change: Callable):
    """What `change` makes of a value; of a dict, what it makes of each entry."""
    return {key: change(entry) for key, entry in value.items()} if isinstance(value, dict) else change(value)


def _for_each_tensor(tree, change: Callable):
    """Nested dicts and lists with what `change` makes of their tensors; all else in them stays."""
    if isinstance(tree, dict):
        return {key: _for_each_tensor(entry, change) for key, entry in tree.items()}
    if isinstance(tree, list):
        return [_for_each_tensor(entry, change) for entry in tree]
    is_tensor = isinstance(tree, torch.Tensor | DTensorValue | ShardedTensorValue)
    return change(tree) if is_tensor else tree


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, ShardedTensor):
        return _clone_sharded(tensor)
    if isinstance(tensor, DTensor):  # by its shard: PyTorch would first work out the placements of the result, for each shape
        return DTensor(tensor._local_tensor.clone(), tensor._spec, requires_grad=False)
    return tensor.detach().clone()


def _clone_sharded(tensor: ShardedTensor) -> ShardedTensor:
    """As for other tensors: the values, without a graph."""
    shards = [Shard(shard.tensor.detach().clone(), shard.metadata) for shard in tensor.local_shards()]
    return sharded_of(shards, tensor.metadata().shards_metadata, tensor.size(), tensor.dtype, tensor._process_group)


def local_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """What this rank holds of it, as plain tensors that share its storage."""
    if isinstance(tensor, ShardedTensor):
        return [shard.tensor for shard in tensor.local_shards()]
    return [tensor._local_tensor if isinstance(tensor, DTensor) else tensor]


def fill(tensor: torch.Tensor, scalar: float) -> None:
    with torch.no_grad():
        for part in local_parts(tensor):
            part.fill_(scalar)


def _chunk(rank: int, offsets, sizes) -> dict:
    return {"rank": rank, "offsets": list(offsets), "sizes": list(sizes)}


def _to(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    # ShardedTensor.to needs a device of its process group; .cpu() is what PyTorch offers for the other way.
    return tensor.cpu() if isinstance(tensor, ShardedTensor) and device.type == "cpu" else tensor.to(device)


class MeshOperations:
    @operation("mesh.init")
    def mesh_init(
        self, shape: list[int], dim_names: list[str] | None = None, ranks: list[int] | None = None
    ) -> Handle:
        return self.handles.add("mesh", self.meshes.init(shape, dim_names, ranks))

    @operation("mesh.submesh")
    def mesh_submesh(self, mesh: Handle, dim_names: list[str]) -> Handle:
        submesh = self.mesh_of(mesh)[tuple(dim_names)]
        self.meshes.note(submesh)
        return self.handles.add("mesh", submesh)

    @operation("mesh.describe")
    def mesh_describe(self, mesh: Handle) -> dict:
        device_mesh = self.mesh_of(mesh)
        layout = mesh_layout(device_mesh)
        return {
            "device_type": layout.device_type,
            "shape": layout.shape,
            "dim_names": layout.dim_names,
            "ranks": layout.ranks,
            "coordinate": list(device_mesh.get_coordinate() or ()),
        }


    def mesh_of(self, handle: Handle) -> DeviceMesh:
        return self.handles.get(handle, "mesh")


class GroupOperations:
    @operation("group.new")
    def group_new(self, ranks: list[int], per_device_backends: bool = False) -> Handle:
        return self.handles.add("group", self.groups.new(ranks, per_device_backends))

    def group_of(self, handle: Handle) -> dist.ProcessGroup:
        return self.handles.get(handle, "group")


class TensorOperations:
    @operation("tensor.mesh")
    def tensor_mesh(self, value: DTensorValue) -> Handle:
        return self.handles.add("mesh", self.tensors.to_torch(value).device_mesh)

    @operation("tensor.full")
    def tensor_full(self, value: DTensorValue | dict) -> torch.Tensor | dict:
        return _for_each_entry(value, lambda entry: self.tensors.whole(self.tensors.to_torch(entry)))

    @operation("tensor.redistribute")
    def tensor_redistribute(self, value: DTensorValue, placements: list[str]) -> DTensorValue:
        tensor = self.tensors.to_torch(value)
        wanted = [parse_placement(text) for text in placements]
        return self.tensors.to_value(tensor.redistribute(placements=wanted))

    @operation("tensor.distribute")
    def tensor_distribute(self, value: torch.Tensor, mesh: Handle, placements: list[str]) -> DTensorValue:
        wanted = [parse_placement(text) for text in placements]
        return self.tensors.to_value(distribute_tensor(value, self.mesh_of(mesh), wanted))

    @operation("tensor.view")
    def tensor_view(self, value: torch.Tensor, kind: str, dims: list[int]) -> torch.Tensor:
        if kind == "expand":
            return value.expand(dims)
        needed = {"transpose": 2, "narrow": 3}[kind]
        if len(dims) != needed:
            raise ValueError(f"{kind} needs {needed} dims, got {len(dims)}")
        return getattr(value, kind)(*dims)

    @operation("tensor.chunks")
    def tensor_chunks(self, value: DTensorValue | ShardedTensorValue) -> list[dict]:
        if isinstance(value, ShardedTensorValue):
            return [_chunk(shard.rank, shard.offsets, shard.sizes) for shard in value.metadata]
        placements = [parse_placement(text) for text in value.placements]
        coordinates = itertools.product(*map(range, value.mesh.shape))
        return [
            _chunk(rank, *reversed(_compute_local_shape_and_global_offset(value.shape, value.mesh.shape, place, placements)))
            for rank, place in zip(value.mesh.ranks, coordinates, strict=True)
        ]

    @operation("tensor.clone")
    def tensor_clone(self, value: torch.Tensor | DTensorValue | dict) -> torch.Tensor | DTensorValue | dict:
        return _for_each_tensor(value, lambda entry: self.tensors.to_value(_clone(self.tensors.to_torch(entry))))

    @operation("tensor.fill")
    def tensor_fill(self, value: torch.Tensor | DTensorValue | dict, scalar: float) -> None:
        _for_each_entry(value, lambda entry: fill(self.tensors.to_torch(entry), scalar))

    @operation("tensor.to")
    def tensor_to(self, value, device: str):
        wanted = self.local_device(device)
        return _for_each_entry(value, lambda entry: self.tensors.to_value(_to(self.tensors.to_torch(entry), wanted)))

    @operation("sharded.gather")
    def sharded_gather(self, value: ShardedTensorValue | dict, group: Handle | None = None) -> torch.Tensor | dict:
        members = None if group is None else self.group_of(group)
        if not isinstance(value, dict):
            return _state_dict_utils._all_gather_sharded_tensor(self.tensors.to_torch(value), pg=members)
        return self.tensors.tree_to_values(_gather_state_dict(self.tensors.tree_to_torch(value), pg=members))

    def local_device(self, name: str) -> torch.device:
        """The device that this rank means by a device type."""
        return self.device if name == self.device.type else torch.device(name)
