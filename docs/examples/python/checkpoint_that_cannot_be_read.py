"""Saves of the HuggingFace storage that succeed, and whose files cannot be read: `checkpoint_that_cannot_be_read.py DIR`.
The package safetensors is needed. Exit code 1: there was one."""

import sys
from pathlib import Path

import torch
import torch.distributed.checkpoint as checkpoint

TENSOR = torch.ones(2, 3)
SAVED = {
    "a float": {"tensor": TENSOR, "value": 2.5},
    "a text": {"tensor": TENSOR, "value": "text"},
    "complex128": {"tensor": TENSOR, "value": TENSOR.to(torch.complex128)},
    "float8_e8m0fnu": {"tensor": TENSOR, "value": TENSOR.to(torch.float8_e8m0fnu)},
}


def problem_of(state: dict, folder: str) -> str:
    writer = checkpoint.HuggingFaceStorageWriter(folder, save_distributed=True)
    try:
        checkpoint.save(state, storage_writer=writer, no_dist=True)
    except (Exception, checkpoint.CheckpointException) as error:
        print(f"  refused by the save: {str(error).strip().splitlines()[-1]}")
        return ""
    wanted = {name: torch.zeros_like(v) if isinstance(v, torch.Tensor) else v for name, v in state.items()}
    try:
        checkpoint.load(wanted, storage_reader=checkpoint.HuggingFaceStorageReader(folder), no_dist=True)
    except (Exception, checkpoint.CheckpointException) as error:
        return f"saved, and cannot be read: {str(error).strip().splitlines()[-1]}"
    return ""


def main(folder: str) -> int:
    problems = 0
    for number, (what, state) in enumerate(SAVED.items()):
        print(f"{what}:")
        if problem := problem_of(state, str(Path(folder) / str(number))):
            print(f"  {problem}")
            problems += 1
    return 1 if problems else 0


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    sys.exit(main(*sys.argv[1:]))
