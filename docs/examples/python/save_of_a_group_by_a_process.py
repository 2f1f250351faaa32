"""Saves that another process of each rank writes, on two ranks: first of all ranks, then of the last rank's group alone:
`save_of_a_group_by_a_process.py DIR`. Exit code 1: the second one does not end within 20 seconds.

The process joins a group of the ranks of the first save, and keeps it: what a later save is given as its group does not
reach it, so that the last rank waits for ranks that do not save."""

import concurrent.futures
import os
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
import torch.multiprocessing
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

RANKS = 2


def save(path: str, group: dist.ProcessGroup):
    writer = checkpoint.FileSystemWriter(path)
    return checkpoint.async_save({"a": torch.ones(4)}, storage_writer=writer, process_group=group,
                                 async_checkpointer_type=AsyncCheckpointerType.PROCESS)


def rank_main(rank: int, folder: str) -> None:
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    last = dist.new_group([RANKS - 1], backend="gloo")
    save(f"{folder}/all", dist.group.WORLD).result(timeout=120)
    text = "ended"
    if rank == RANKS - 1:
        try:
            save(f"{folder}/last", last).result(timeout=20)
        except concurrent.futures.TimeoutError:
            text = "not done after 20 s"
        print(f"the save of rank {rank} alone: {text}", flush=True)
    failed = torch.tensor([text != "ended"], dtype=torch.int64)
    dist.all_reduce(failed)
    os._exit(int(failed.item() > 0))  # without waiting for the save


def main(folder: str) -> int:
    os.makedirs(folder, exist_ok=True)
    context = torch.multiprocessing.get_context("spawn")
    ranks = [context.Process(target=rank_main, args=(rank, folder)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=180)
    return max(process.exitcode or 0 for process in ranks)


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}", flush=True)
    sys.exit(main(*sys.argv[1:]))
