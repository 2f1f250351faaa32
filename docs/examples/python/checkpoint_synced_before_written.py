"""What of a checkpoint's metadata is in the file when it is synced: `checkpoint_synced_before_written.py DIR`. Exit code
1: less than in the end."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed.checkpoint as checkpoint

synced: dict[str, int] = {}
sync = os.fsync


def noting(descriptor: int) -> None:
    synced[Path(os.readlink(f"/proc/self/fd/{descriptor}")).name] = os.fstat(descriptor).st_size
    sync(descriptor)


def main(folder: str) -> int:
    os.fsync = noting
    checkpoint.save({"weight": torch.ones(4)}, checkpoint_id=folder, no_dist=True)
    size = (Path(folder) / ".metadata").stat().st_size
    print(f".metadata: {synced['.metadata.tmp']} bytes when it was synced, {size} in the end")
    return int(synced[".metadata.tmp"] < size)


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    sys.exit(main(*sys.argv[1:]))
