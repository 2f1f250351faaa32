"""One rank of test_torch_adapter.py: `torch_rank.py RANK WORLD_SIZE STORE CASE…` runs the cases in order."""

import multiprocessing
import os
import sys
import traceback

import conftest  # noqa: F401  (the path)
import torch

import inspection_cases
import storage_cases
import torch_cases
from shardcts.adapter import load


class Rank:
    """The adapter of one rank, with operations as a short call that fails on errors."""

    def __init__(self, rank: int, world_size: int, store: str):
        self.rank, self.world_size = rank, world_size
        options = {"store": store, "local_rank": str(rank), "timeout_s": "60"}
        self.dispatcher = load("shardcts.torch_adapter", "TorchAdapter", rank, world_size, "cpu", options)

    def __call__(self, name: str, **arguments):
        error, value, _ = self.dispatcher.invoke(name, arguments)
        assert error is None, f"{name}: {error}"
        return value

    def error_of(self, name: str, **arguments) -> tuple[str, str]:
        error, _, _ = self.dispatcher.invoke(name, arguments)
        assert error is not None, f"{name} did not fail"
        return error


def case_named(name: str):
    return next(getattr(module, name) for module in (torch_cases, inspection_cases, storage_cases) if hasattr(module, name))


def main() -> int:
    torch.set_num_threads(1)
    rank = Rank(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    for case in sys.argv[4:]:
        try:
            rank("implementation.seed", seed=42)
            case_named(case)(rank)
            rank("implementation.reset")
        except Exception:
            print(f"FAILED {case} on rank {rank.rank}\n{traceback.format_exc()}", flush=True)
            return 1
        print(f"ok {case}", flush=True)
    rank.dispatcher.close()
    for child in multiprocessing.active_children():
        child.join(timeout=30)  # PyTorch sends SIGTERM to a process that needs more than 5 s, and does not wait for its end
    left = multiprocessing.active_children()
    if left:
        print(f"FAILED: after close() rank {rank.rank} still has {left}", flush=True)
    return 1 if left else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # As the harness's ranks end: now and then PyTorch aborts while CPython takes it down ("terminate called without an
    # active exception", after close(), once in 14 processes on a busy machine).
    os._exit(code)
