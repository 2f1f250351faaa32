"""The default process group: what of an earlier one must not stay."""

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from shardcts import torch_process_group


def test_layouts_of_an_earlier_group_are_forgotten():
    for groups_before in (3, 0):  # so that the groups of equal meshes have other names
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            for _ in range(groups_before):
                dist.new_group([0])
            mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("a", "b"))
            tensor = distribute_tensor(torch.ones(4, 4), mesh, [Shard(0), Shard(1)])
            assert (tensor + tensor).device_mesh is mesh
        finally:
            torch_process_group.tear_down()
