"""Cases of test_torch_adapter.py about checkpoints; every rank runs them."""

import json
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
    run("storage.save", state_dict={"a": torch.arange(3)}, path=new_folder("dcp"), format="dcp")
    read = run("storage.load", state_dict={"a": torch.zeros(3).long()}, path=new_folder("dcp"), format="dcp")
    assert torch.equal(read["state_dict"]["a"], torch.arange(3))


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


def saves_go_on_in_the_background(run):
    mesh = run("mesh.init", shape=[run.world_size])
    path = new_folder("background")
    saved = {"weight": rows(run, mesh), "plain": torch.arange(3), "step": 3}
    save = run("storage.save_async", state_dict=saved, path=path)
    saved["plain"].fill_(7)
    run("tensor.fill", value=saved["weight"], scalar=7.0)
    dist.barrier()
    run("storage.wait", save=save)
    run("storage.wait", save=save)
    assert run("storage.progress", save=save) == {"staged": True, "done": True}
    read = run("storage.read", path=path)
    assert torch.equal(read["weight"], torch.arange(14.0).reshape(7, 2)) and read["plain"].tolist() == [0, 1, 2]
    failing = run("storage.save_async", state_dict={"a": torch.ones(1)}, path=path, overwrite=False)
    kind, text = run.error_of("storage.wait", save=failing)
    assert kind == "CheckpointException" and "Checkpoint already exists" in text


def staged_copies_share_what_was_shared(run):
    base = torch.arange(6.0).reshape(3, 2)
    staged = run("storage.stage", state_dict={"base": base, "row": base[1], "list": [base.t(), 3]})
    assert staged["base"].data_ptr() == staged["list"][0].data_ptr() != base.data_ptr()
    staged["base"].fill_(7)
    assert staged["row"].tolist() == [7, 7] and base[1].tolist() == [2, 3] and staged["list"][1] == 3


def safetensors_in_a_sub_folder_are_read(run):
    path = new_folder("inner")
    run("storage.save", state_dict={"a": torch.arange(3)}, path=path + "/save", format="safetensors")
    loaded = run("storage.load", state_dict={"a": torch.zeros(3, dtype=torch.int64)}, path=path, format="safetensors")
    assert loaded["state_dict"]["a"].tolist() == [0, 1, 2]
    assert run("storage.describe", path=path)["complete"] and run("storage.read", path=path)["a"].tolist() == [0, 1, 2]


def shards_are_put_together(run):
    mesh = run("mesh.init", shape=[run.world_size])
    path = new_folder("parts")
    run("storage.save", state_dict={"weight": rows(run, mesh), "bias": torch.ones(2)}, path=path, format="safetensors")
    if run.rank == 0:
        run("storage.consolidate", path=path, target=path + "/whole", files={"weight": 2, "bias": 1})
        names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        index = json.loads((Path(path) / "whole" / "model.safetensors.index.json").read_text())
        assert index["weight_map"] == {"bias": names[0], "weight": names[1]}
        assert all((Path(path) / "whole" / name).exists() for name in names)
    dist.barrier()
