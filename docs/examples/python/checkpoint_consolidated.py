"""Consolidated files of the HuggingFace storage against what was saved: `checkpoint_consolidated.py DIR`. The package
safetensors is needed. Exit code 1: an error, or other values."""

import sys
from pathlib import Path

import torch
import torch.distributed.checkpoint as checkpoint
from safetensors.torch import load_file
from torch.distributed.checkpoint._consolidate_hf_safetensors import consolidate_safetensors_files

SAVED = {
    "floats": torch.arange(6.0),
    "a number": torch.tensor(7.0),
    "ints": torch.arange(6),
    "bools": torch.tensor([True, False]),
}


def problem_of(tensor: torch.Tensor, folder: Path) -> str:
    writer = checkpoint.HuggingFaceStorageWriter(str(folder / "parts"), save_distributed=True)
    checkpoint.save({"tensor": tensor}, storage_writer=writer, no_dist=True)
    (folder / "whole").mkdir()
    try:
        consolidate_safetensors_files(str(folder / "parts"), str(folder / "whole"), {"tensor": 1})
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    (file,) = (folder / "whole").glob("*.safetensors")
    whole = load_file(file)["tensor"]
    return "" if torch.equal(whole, tensor) else f"saved {tensor}, consolidated {whole}"


def main(folder: str) -> int:
    problems = {what: problem_of(tensor, Path(folder) / what) for what, tensor in SAVED.items()}
    for what, problem in problems.items():
        print(f"{what}: {problem or 'right'}")
    return 1 if any(problems.values()) else 0


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    sys.exit(main(*sys.argv[1:]))
