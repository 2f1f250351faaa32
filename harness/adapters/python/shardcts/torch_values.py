"""DTensor and DeviceMesh of PyTorch as contract values and back."""

from __future__ import annotations

import math
import re

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

from shardcts.values import DTensorValue, MeshLayout

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

    def init(self, shape: list[int], dim_names: list[str] | None) -> DeviceMesh:
        """*Collective* the first time."""
        layout = MeshLayout(self._device_type, shape, dim_names or [], list(range(math.prod(shape))))
        mesh = self._by_layout.get(layout.key())
        if mesh is None:
            names = tuple(dim_names) if dim_names else None
            mesh = init_device_mesh(self._device_type, tuple(shape), mesh_dim_names=names)
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


class TensorConversion:
    """Tensors between the contract and PyTorch. Local unless a mesh is new."""

    def __init__(self, meshes: MeshRegistry):
        self._meshes = meshes

    def to_value(self, tensor: torch.Tensor | None) -> torch.Tensor | DTensorValue | None:
        """Shares storage; a plain tensor keeps its graph, a DTensor's value holds its local tensor without one."""
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
        """A DTensor for a DTensorValue, sharing its local tensor; anything else unchanged."""
        if not isinstance(value, DTensorValue):
            return value
        tensor = DTensor.from_local(
            value.local,
            self._meshes.find(value.mesh),
            [parse_placement(text) for text in value.placements],
            run_check=False,
            shape=torch.Size(value.shape),
            stride=tuple(value.stride),
        )
        if value.is_parameter:
            return nn.Parameter(tensor, requires_grad=value.requires_grad)
        return tensor.requires_grad_() if value.requires_grad else tensor

    def dict_to_values(self, tensors) -> dict:
        return {name: self.to_value(tensor) for name, tensor in tensors}
