"""Two saves in the background to one folder, the second begun before the first has ended: `checkpoint_of_two_saves.py
DIR`. Exit code 1: both succeed, and what is there is of neither."""

import sys
from concurrent.futures import Future
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint

NAMES = [f"tensor{number}" for number in range(30)]
ROUNDS = 20


def state(value: float) -> dict:
    return {name: torch.full((100,), value) for name in NAMES}


def succeeds(save: Future) -> bool:
    return save.exception() is None


def problem_of(folder: Path) -> str:
    saves = [checkpoint.async_save(state(value), checkpoint_id=folder, no_dist=True) for value in (1.0, 2.0)]
    if not any([succeeds(save) for save in saves]):
        return ""
    loaded = state(0.0)
    try:
        checkpoint.load(loaded, checkpoint_id=folder, no_dist=True)
    except (Exception, checkpoint.CheckpointException) as error:
        return f"cannot be loaded: {str(error).strip().splitlines()[-1]}"
    of_first = sum(bool((loaded[name] == 1).all()) for name in NAMES)
    of_second = sum(bool((loaded[name] == 2).all()) for name in NAMES)
    return "" if len(NAMES) in (of_first, of_second) else f"{of_first} tensors of the first, {of_second} of the second"


def main(folder: str) -> int:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    for number in range(ROUNDS):
        if problem := problem_of(Path(folder) / str(number)):
            print(f"round {number}: {problem}")
            return 1
    print(f"{ROUNDS} rounds: of one save each")
    return 0


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    sys.exit(main(*sys.argv[1:]))
