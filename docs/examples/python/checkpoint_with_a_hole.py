"""Loads of checkpoints in which some rows are in no chunk: `checkpoint_with_a_hole.py DIR`. The package safetensors is
needed. Exit code 1: a load succeeds, and leaves rows as they were."""

import json
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed.checkpoint as checkpoint
from safetensors.torch import save_file
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata

ROWS = torch.arange(6.0)


def without_a_row(folder: Path) -> checkpoint.FileSystemReader:
    """What the FileSystem storage wrote; its metadata then say that the only chunk has five rows."""
    checkpoint.save({"rows": ROWS}, storage_writer=checkpoint.FileSystemWriter(folder), no_dist=True)
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    metadata.state_dict_metadata["rows"].chunks = [ChunkStorageMetadata(torch.Size([0]), torch.Size([5]))]
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    return checkpoint.FileSystemReader(folder)


def without_a_file(folder: Path) -> checkpoint.HuggingFaceStorageReader:
    """The first and the last of three shards, as the HuggingFace storage writes them."""
    folder.mkdir(parents=True)
    for shard in (0, 2):
        info = {"DCP_SHARDING_INFO": json.dumps({"rows": {"saved_offsets": [2 * shard]}}), "DCP_VERSION": "1.0"}
        name = f"shard-{shard + 1:05}-model-00001-of-00001.safetensors"
        save_file({"rows": ROWS[2 * shard : 2 * shard + 2].clone()}, folder / name, metadata={"format": "pt", **info})
    return checkpoint.HuggingFaceStorageReader(str(folder))


def main(folder: str) -> int:
    holes = 0
    for make in (without_a_row, without_a_file):
        reader = make(Path(folder) / make.__name__)
        state = {"rows": torch.full((6,), -1.0)}
        try:
            checkpoint.load(state, storage_reader=reader, no_dist=True)
        except (Exception, checkpoint.CheckpointException) as error:
            print(f"{make.__name__}: {type(error).__name__}")
            continue
        holes += 1
        print(f"{make.__name__}: loaded {state['rows'].tolist()}")
    return 1 if holes else 0


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}")
    sys.exit(main(*sys.argv[1:]))
