"""What the scripts that show defects of peers share: a line for each defect, whatever it does to the ranks."""

import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException


def start(rank: int, size: int, store: str, timeout_s: float = 60) -> None:
    """*Collective.* The process group of all ranks."""
    timeout = timedelta(seconds=timeout_s)
    dist.init_process_group("gloo", store=dist.FileStore(store, size), rank=rank, world_size=size, timeout=timeout)


def of_all(text: str, group: dist.ProcessGroup | None = None) -> list[str]:
    """*Collective.* Each rank's text."""
    texts = [""] * dist.get_world_size()
    dist.all_gather_object(texts, text, group=group)
    return texts


def error_of(action) -> str:
    """*Collective.* What it raises, of the ranks' answers the first; nothing: it works."""
    text = ""
    try:
        action()
    except (Exception, CheckpointException) as error:
        text = f"{type(error).__name__}: {error}"
    return next(filter(None, of_all(text)), "")


def show(defects: list, call, group: dist.ProcessGroup | None = None) -> None:
    """*Collective.* Prints what `call` says of each defect. Ends the process with 1 when one does not show any more."""
    gone = 0
    for defect in defects:
        torch.manual_seed(0)
        shown = " ".join(call(defect).split())
        if dist.get_rank() == 0:
            print(f"{defect.__name__}: {shown or 'does not show'}", flush=True)
        gone += not shown
        dist.barrier(group)
    dist.destroy_process_group()
    if gone:
        sys.exit(1)
