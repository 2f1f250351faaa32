"""Writes golden/dcp_VERSION: what PyTorch's torch.distributed.checkpoint saves on two ranks.

    python make_golden.py          with the PyTorch whose checkpoint is wanted
"""

import os
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

WORLD_SIZE = 2


def state() -> dict:
    mesh = init_device_mesh("cpu", (WORLD_SIZE,))
    rows = distribute_tensor(torch.arange(15, dtype=torch.float32).reshape(5, 3), mesh, [Shard(0)])
    return {
        "model": {
            "rows": rows,
            "transposed": torch.arange(6).reshape(2, 3).t(),
            "ids": torch.arange(3).to(torch.uint16),
            "number": torch.tensor(7.0, dtype=torch.float64),
            "empty": torch.zeros(0, 3),
        },
        "list": [torch.ones(2, dtype=torch.bfloat16), 5],
        "step": 3,
        "text": "größe",
        "bytes": b"\x00\xffab",
        "values": [1, 2.5, "x", True, None, -(2**40), [float("inf")]],
    }


def save(rank: int, scratch: str) -> None:
    os.chdir(scratch)  # the folder's path is in the metadata
    dist.init_process_group("gloo", init_method=f"file://{scratch}/store", rank=rank, world_size=WORLD_SIZE)
    dcp.save(state(), checkpoint_id="checkpoint")
    dist.destroy_process_group()


def main() -> None:
    version = "_".join(torch.__version__.split(".")[:2])
    folder = Path(__file__).parent / "golden" / f"dcp_{version}"
    with tempfile.TemporaryDirectory() as scratch:
        mp.spawn(save, (scratch,), WORLD_SIZE)
        folder.mkdir(parents=True, exist_ok=True)
        for file in (Path(scratch) / "checkpoint").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    print(folder, *sorted(file.name for file in folder.iterdir()), file=sys.stderr)


if __name__ == "__main__":
    main()
