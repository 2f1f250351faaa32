"""What torch.distributed.checkpoint does with a checkpoint that somebody has changed: a line for each fact.

    python docs/examples/python/hostile_checkpoints.py
"""

import os
import pickle
import tempfile
import warnings
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata

warnings.filterwarnings("ignore")


class Attack:
    """Its pickle is a call."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def saved(folder: Path) -> Metadata:
    """Two halves of one tensor, as two tensors of two files would be; returns what .metadata says."""
    dcp.save({"a": torch.arange(4.0), "b": torch.arange(4.0, 8.0), "step": 3}, checkpoint_id=folder)
    return pickle.loads((folder / ".metadata").read_bytes())


def load(folder: Path, metadata: Metadata) -> str:
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    state = {"a": torch.zeros(4), "b": torch.zeros(4), "step": 0}
    try:
        dcp.load(state, checkpoint_id=folder)
    except BaseException as error:  # CheckpointException is no Exception
        return f"refused: {type(error).__name__}"
    return f"loaded: a {state['a'].tolist()}, b {state['b'].tolist()}"


def place_of(metadata: Metadata, name: str):
    return next(place for index, place in metadata.storage_data.items() if index.fqn == name)


def call_in_metadata(folder: Path) -> str:
    metadata = saved(folder)
    metadata.storage_meta = Attack(folder / "made")
    return f"{load(folder, metadata)}; the call was made: {(folder / 'made').exists()}"


def path_out_of_the_folder(folder: Path) -> str:
    metadata = saved(folder)
    outside = folder.with_name("outside")
    (folder / "__0_0.distcp").rename(outside)
    for place in metadata.storage_data.values():
        place.relative_path = "../outside"
    return load(folder, metadata)


def link_out_of_the_folder(folder: Path) -> str:
    metadata = saved(folder)
    (folder / "__0_0.distcp").rename(folder.with_name("outside"))
    (folder / "__0_0.distcp").symlink_to(folder.with_name("outside"))
    return load(folder, metadata)


def two_tensors_with_the_same_bytes(folder: Path) -> str:
    metadata = saved(folder)
    place_of(metadata, "b").offset = place_of(metadata, "a").offset
    return load(folder, metadata)


def another_version(folder: Path) -> str:
    metadata = saved(folder)
    metadata.version = "9.9.9"
    return load(folder, metadata)


def main() -> None:
    for show in (call_in_metadata, path_out_of_the_folder, link_out_of_the_folder, two_tensors_with_the_same_bytes,
                 another_version):
        with tempfile.TemporaryDirectory() as scratch:
            print(f"{show.__name__.replace('_', ' ')}: {show(Path(scratch) / 'checkpoint')}")


if __name__ == "__main__":
    main()
