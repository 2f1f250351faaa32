"""A save on two ranks over an earlier one, in which rank 0 ends before it opens its file: `checkpoint_of_a_killed_rank.py
DIR`. Exit code 1: what is there loads without an error and is of both saves."""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
import torch.multiprocessing as processes
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor


def state(value: float) -> dict:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return {"weight": distribute_tensor(torch.full((4, 3), value), mesh, [Shard(0)])}


def end_instead_of_opening(other_file: Path) -> None:
    """This process ends when it opens a file of a save, once its peer has written `other_file` again."""
    written = other_file.stat().st_mtime_ns

    @contextmanager
    def create_stream(*_):
        while other_file.stat().st_mtime_ns == written:
            time.sleep(0.01)
        time.sleep(0.5)
        os._exit(1)
        yield

    FileSystem.create_stream = create_stream


def rank_main(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=2)
    saved = Path(folder) / "checkpoint"
    checkpoint.save(state(1.0), checkpoint_id=saved)
    if rank == 0:
        end_instead_of_opening(saved / "__1_0.distcp")
    try:
        checkpoint.save(state(2.0), checkpoint_id=saved)
    except (Exception, checkpoint.CheckpointException) as error:
        print(f"rank {rank}: {type(error).__name__}", flush=True)
    os._exit(0)


def main(folder: str) -> int:
    Path(folder).mkdir(parents=True, exist_ok=True)
    context = processes.get_context("spawn")
    ranks = [context.Process(target=rank_main, args=(rank, folder)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    loaded = {"weight": torch.zeros(4, 3)}
    checkpoint.load(loaded, checkpoint_id=Path(folder) / "checkpoint", no_dist=True)
    print("loaded without an error:", loaded["weight"][:, 0].tolist())
    return int(len(loaded["weight"].unique()) > 1)


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    sys.exit(main(*sys.argv[1:]))
