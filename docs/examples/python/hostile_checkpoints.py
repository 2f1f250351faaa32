"""What torch.distributed.checkpoint does with a checkpoint that somebody has changed: a line for each fact. The package
safetensors is needed.

    python docs/examples/python/hostile_checkpoints.py
"""

import json
import os
import pickle
import tempfile
import warnings
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

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


def chunk_of_another_place(folder: Path) -> str:
    metadata = saved(folder)
    metadata.state_dict_metadata["a"].chunks[0].offsets = torch.Size([1 << 62])
    place = {index: place for index, place in metadata.storage_data.items() if index.fqn == "a"}
    for index in place:
        metadata.storage_data[MetadataIndex("a", torch.Size([1 << 62]))] = metadata.storage_data.pop(index)
    return load(folder, metadata)


def load_safetensors(folder: Path) -> str:
    state = {"a": torch.zeros(4)}
    try:
        dcp.load(state, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=True)
    except BaseException as error:
        return f"refused: {type(error).__name__}"
    return f"loaded: a {state['a'].tolist()}"


def half_in_safetensors(folder: Path, first: int) -> None:
    """Two of the four elements, as the HuggingFace storage writes a shard."""
    folder.mkdir(exist_ok=True)
    info = {"format": "pt", "DCP_SHARDING_INFO": json.dumps({"a": {"saved_offsets": [first]}}), "DCP_VERSION": "1.0"}
    name = f"shard-{first // 2 + 1:05}-model-00001-of-00001.safetensors"
    save_file({"a": torch.arange(float(first), first + 2.0)}, folder / name, metadata=info)


def safetensors_without_the_first_file(folder: Path) -> str:
    half_in_safetensors(folder, 2)
    return load_safetensors(folder)


def safetensors_beside_a_foreign_file(folder: Path) -> str:
    half_in_safetensors(folder, 0)
    half_in_safetensors(folder, 2)
    (folder / "notes.safetensors").write_text("no safetensors")
    return load_safetensors(folder)


def main() -> None:
    for show in (call_in_metadata, path_out_of_the_folder, link_out_of_the_folder, two_tensors_with_the_same_bytes,
                 another_version, chunk_of_another_place, safetensors_without_the_first_file,
                 safetensors_beside_a_foreign_file):
        with tempfile.TemporaryDirectory() as scratch:
            print(f"{show.__name__.replace('_', ' ')}: {show(Path(scratch) / 'checkpoint')}")


if __name__ == "__main__":
    main()
