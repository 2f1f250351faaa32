"""Defects of Megatron-Core 0.16.1's dist_checkpointing that the suite storage led to, each alone: `python
megatron_defects.py` shows them on two ranks. Exit code 1 when one does not show any more.
"""

import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from defects_on_ranks import error_of, of_all, show, start
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing import ShardedTensor
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue


def rows(whole: torch.Tensor, name: str = "weight") -> ShardedTensor:
    """This rank's half."""
    return ShardedTensor.from_rank_offsets(name, whole.chunk(2)[dist.get_rank()].clone(), (0, dist.get_rank(), 2))


def save(state, path: str) -> None:
    os.makedirs(path, exist_ok=True)
    dist.barrier()
    dist_checkpointing.save(state, path)


def common_file_missing(path: str) -> str:
    """load_common lists the folder for its message with iterdir, which the text that it asks for as a path does not have."""
    save({"weight": rows(torch.ones(4)), "step": 1}, path)
    dist.barrier()
    Path(path, "common.pt").unlink(missing_ok=True)
    dist.barrier()
    told = error_of(lambda: dist_checkpointing.load({"weight": rows(torch.zeros(4))}, path))
    return told if "AttributeError" in told else ""


def list_of_a_tensor_and_a_value(path: str) -> str:
    """Tensors and values are told apart into two lists, which then do not become one again."""
    save({"list": [rows(torch.ones(4)), 5]}, path)
    return error_of(lambda: dist_checkpointing.load({"list": [rows(torch.zeros(4)), 0]}, path))


def two_background_saves(path: str) -> str:
    """_get_write_results_queue has one queue for all saves of a process: the first that ends gives its results, which say
    where in which file a tensor is, to the one that was begun first."""
    queue, fsync = AsyncCallsQueue(), os.fsync

    def fsync_slowly(file):
        time.sleep(2)
        fsync(file)

    for name, size, os.fsync in (("large", 40_000, fsync_slowly), ("small", 4, fsync)):
        os.makedirs(os.path.join(path, name), exist_ok=True)
        dist.barrier()
        state = {name: rows(torch.ones(size), name), "weight": rows(torch.full((size,), float(size)))}
        queue.schedule_async_request(dist_checkpointing.save(state, os.path.join(path, name), async_sharded_save=True))
    told = error_of(lambda: queue.maybe_finalize_async_calls(blocking=True))
    loaded = {"weight": rows(torch.zeros(40_000))}
    return told or error_of(lambda: dist_checkpointing.load(loaded, os.path.join(path, "large")))


def error_of_rank_0_alone(path: str) -> str:
    """validate_sharding_integrity is left by all ranks but rank 0, which tells nobody: they wait until their group's time is
    over, and the group is of no use then. So this is the last one."""
    state = {"weight": rows(torch.ones(4, dtype=(torch.float32, torch.float64)[dist.get_rank()]))}
    began, told = time.monotonic(), ""
    try:
        save(state, path)
    except Exception as error:
        told = type(error).__name__
    texts = of_all(f"{told} after {time.monotonic() - began:.0f} s", control)
    return "; ".join(texts) if texts[0].startswith("AssertionError") and not texts[1].startswith("AssertionError") else ""


DEFECTS = [common_file_missing, list_of_a_tensor_and_a_value, two_background_saves, error_of_rank_0_alone]


def rank_main(rank: int, folder: str) -> None:
    torch.cuda.synchronize = lambda device=None: None
    torch.cuda.current_device = lambda: torch.device("cpu")
    start(rank, 2, os.path.join(folder, "store"), timeout_s=20)
    global control
    control = dist.new_group(timeout=timedelta(seconds=120))
    show(DEFECTS, lambda defect: defect(os.path.join(folder, defect.__name__)), control)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank_main, (folder,), 2)
