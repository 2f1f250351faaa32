"""Cases of test_torch_adapter.py about checkpoints; every rank runs them."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist


def new_folder(name: str) -> str:
    """Beside the store that all ranks of the test share."""
    return str(Path(sys.argv[3]).parent / name)


def rows(run, mesh, scale=1.0):
    return run("tensor.distribute", value=scale * torch.arange(14.0).reshape(7, 2), mesh=mesh, placements=["S(0)"])


def checkpoints_go_to_a_folder_and_back(run):
    mesh = run("mesh.init", shape=[run.world_size])
    path = new_folder("back")
    saved = {"model": {"weight": rows(run, mesh)}, "step": 3, "list": [torch.ones(2), 5]}
    assert run("storage.describe", path=path) == {"complete": False, "keys": {}}
    run("storage.save", state_dict=saved, path=path)
    destination = {"model": {"weight": rows(run, mesh, 0.0)}, "step": 0, "list": [torch.zeros(2), 0]}
    loaded = run("storage.load", state_dict=destination, path=path)["state_dict"]
    weight = loaded["model"]["weight"]
    assert weight.local.data_ptr() == destination["model"]["weight"].local.data_ptr() or weight.local.numel() == 0
    assert torch.equal(weight.local, saved["model"]["weight"].local)
    assert loaded["step"] == 3 and loaded["list"][1] == 5 and torch.equal(loaded["list"][0], torch.ones(2))
    described = run("storage.describe", path=path)
    assert described["complete"] and list(described["keys"]) == ["list.0", "list.1", "model.weight", "step"]
    entry = described["keys"]["model.weight"]
    assert (entry["kind"], entry["dtype"], entry["shape"]) == ("tensor", "float32", [7, 2])
    assert sum(chunk["sizes"][0] for chunk in entry["chunks"]) == 7
    assert described["keys"]["step"] == {"kind": "value"}
    assert torch.equal(run("storage.read", path=path)["model"]["weight"], torch.arange(14.0).reshape(7, 2))
    assert list(run("storage.read", path=path, keys=["step"])) == ["step"]


def errors_of_checkpoints_are_those_of_every_rank(run):
    path = new_folder("errors")
    run("storage.save", state_dict={"a": torch.ones(2)}, path=path)
    wanted = {"b": torch.ones(2)} if run.rank == run.world_size - 1 else {"a": torch.ones(2)}
    kind, text = run.error_of("storage.load", state_dict=wanted, path=path)
    assert kind == "CheckpointException"
    assert text == f"rank {run.world_size - 1}: RuntimeError: Missing key in checkpoint state_dict: b."
    kept = run("storage.load", state_dict={"b": torch.full((2,), 7.0)}, path=path, partial=True)["state_dict"]
    assert (kept["b"] == 7).all()
    kind, text = run.error_of("storage.save", state_dict={"a": torch.ones(2)}, path=path, overwrite=False)
    assert kind == "CheckpointException" and "Checkpoint already exists" in text
    assert run.error_of("storage.read", path=path + "/nowhere")[0] == "CheckpointException"


def some_ranks_save_and_others_load(run):
    group = run("group.new", ranks=[run.world_size - 1])
    path = new_folder("others")
    if run.rank == run.world_size - 1:
        run("storage.save", state_dict={"a": torch.arange(3)}, path=path, group=group)
    dist.barrier()
    loaded = run("storage.load", state_dict={"a": torch.zeros(3, dtype=torch.int64)}, path=path)["state_dict"]
    assert loaded["a"].tolist() == [0, 1, 2]


def reads_and_chunks_are_planned(run):
    rows = [{"offsets": [0, 0], "sizes": [3, 2]}, {"offsets": [3, 0], "sizes": [4, 2]}]
    reads = run("storage.plan_reads", saved=rows, wanted=[{"offsets": [2, 1], "sizes": [3, 1]}])
    assert reads == [
        {"saved": 0, "wanted": 0, "offsets": [2, 1], "sizes": [1, 1]},
        {"saved": 1, "wanted": 0, "offsets": [3, 1], "sizes": [2, 1]},
    ]
    assert run("storage.check_chunks", shape=[7, 2], chunks=rows) == []
    (problem,) = run("storage.check_chunks", shape=[8, 2], chunks=rows)
    assert "16" in problem and "14" in problem
