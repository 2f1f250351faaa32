"""A DTensor under fully_shard and row-wise tensor parallelism, of which one rank has no column, is gathered on two ranks:
`gather_of_an_empty_column.py [PORT]`. Exit code 1: a rank does not come back within 10 seconds."""

import os
import sys
import threading
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import RowwiseParallel, parallelize_module


def gather(rank: int, port: int) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("shards", "tp"))
    model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False))
    parallelize_module(model, mesh["tp"], {"0": RowwiseParallel()})
    fully_shard(model, mesh=mesh["shards"])
    weight = model.state_dict()["0.weight"]
    print(f"rank {rank}: its part has the shape {list(weight.to_local().shape)}", flush=True)
    watch = threading.Timer(10, lambda: (print(f"rank {rank}: no end", flush=True), os._exit(1)))
    watch.start()
    print(f"rank {rank}: gathered {list(weight.full_tensor().shape)}", flush=True)
    watch.cancel()
    time.sleep(15)  # as long as the peer waits
    os._exit(0)


def main(port: int) -> int:
    ranks = [multiprocessing.get_context("spawn").Process(target=gather, args=(rank, port)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    return max(1 if rank.exitcode is None else rank.exitcode for rank in ranks)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 29533))
