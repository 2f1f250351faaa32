"""The default process group: what of an earlier one must not stay."""

import ctypes
import os
import threading

import pytest
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make threads less nice")
def test_readers_give_way_until_the_process_is_about_to_end():
    begun, over, threads = threading.Event(), threading.Event(), []

    def read():
        ctypes.CDLL(None).prctl(15, b"gloo_tcp_loop", 0, 0, 0)  # PR_SET_NAME
        threads.append(threading.get_native_id())
        begun.set()
        over.wait(60)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert begun.wait(60)
        torch_process_group.calm_readers()
        assert os.getpriority(os.PRIO_PROCESS, threads[0]) == 19
        torch_process_group.tear_down()
        assert os.getpriority(os.PRIO_PROCESS, threads[0]) == os.getpriority(os.PRIO_PROCESS, os.getpid()) < 19
    finally:
        over.set()
        reader.join()
