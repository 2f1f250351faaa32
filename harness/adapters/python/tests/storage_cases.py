"""Cases of test_torch_adapter.py about checkpoints; every rank runs them."""

import json
import multiprocessing
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
    nothing = run("storage.describe", path=path)
    assert (nothing["complete"], nothing["version"], nothing["keys"]) == (False, "", {})
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
    assert described["version"] == described["writes"] == "1.0.0"
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


def another_process_writes(run):
    path = new_folder("process")
    saved = {"a": torch.arange(3), "step": 3}
    save = run("storage.save_async", state_dict=saved, path=path, process=True)
    saved["a"].fill_(7)
    run("storage.wait", save=save)
    read = run("storage.read", path=path)
    assert read["a"].tolist() == [0, 1, 2] and read["step"] == 3
    assert len(multiprocessing.active_children()) == 1  # torch_rank.py looks that none is left after close


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
    run("storage.consolidate_on_every_rank", path=path, target=path + "/shared", files={"weight": 2, "bias": 1})
    whole, shared = Path(path) / "whole", Path(path) / "shared"
    for name in (f"model-0000{number}-of-00002.safetensors" for number in (1, 2)):
        assert (shared / name).read_bytes() == (whole / name).read_bytes()
    index = "model.safetensors.index.json"  # in which the order of names differs by run
    assert json.loads((shared / index).read_text()) == json.loads((whole / index).read_text())


def quantized_weights_are_multiplied(run):
    path = new_folder("blocks")
    weight, factors = torch.ones(3, 5), torch.arange(1.0, 7).reshape(2, 3)
    saved = {"a.weight": weight, "a.weight_scale_inv": factors, "b": torch.ones(1)}
    if run.rank == 0:
        run("storage.save", state_dict=saved, path=path + "/parts", format="safetensors", distributed=False)
        run("storage.consolidate", path=path + "/parts", target=path + "/whole")
    dist.barrier()
    destination = {"a.weight": torch.zeros(3, 5), "b": torch.zeros(1)}
    loaded = run("storage.load", state_dict=destination, path=path + "/whole", format="safetensors", block_size=2)
    expected = factors.repeat_interleave(2, 0).repeat_interleave(2, 1)[:3, :5]
    assert torch.equal(loaded["state_dict"]["a.weight"], expected) and loaded["state_dict"]["b"].tolist() == [1]


def parts_are_copied_in_runs(run):
    assert run("storage.contiguous_run", place=[1, 0], part=[3, 4], shape=[6, 4]) == 8
    assert run.error_of("storage.contiguous_run", place=[3], part=[3], shape=[4])[0] == "ValueError"
    whole = run("storage.place_part", part=torch.tensor([[1, 2], [3, 4]]), offsets=[0, 1], shape=[2, 3])
    assert whole.tolist() == [[0, 1, 2], [0, 3, 4]]


def optimizer_state_is_loaded_by_itself(run):
    mesh, path = run("mesh.init", shape=[run.world_size]), new_folder("optimizer")
    state = {"state": {"weight": {"exp_avg": rows(run, mesh), "step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.5}]}
    run("storage.save", state_dict={"optim": state, "model": {"weight": rows(run, mesh)}}, path=path)
    loaded = run("storage.load_optimizer", model_state={"weight": rows(run, mesh, 0.0)}, key="optim", path=path)
    assert list(loaded) == ["optim"] and loaded["optim"]["param_groups"] == [{"lr": 0.5}]
    assert loaded["optim"]["state"]["weight"]["step"].item() == 3
    assert loaded["optim"]["state"]["weight"]["exp_avg"].shape == [7, 2]


def layout(shape, rows):
    return {"dtype": "float32", "shape": shape, "chunks": torch.tensor(rows)}


def who_writes_what_is_planned(run):
    tensors = {"both": layout([4], [[0, 0, 4], [1, 0, 4]]), "rows": layout([3, 2], [[0, 0, 0, 2, 2], [1, 2, 0, 1, 2]])}
    plan = run("storage.plan_save", ranks=2, tensors=tensors, values={"step": [0, 1]})
    assert plan["chunks"]["rows"].tolist() == [[0, 0, 0, 2, 2], [1, 2, 0, 1, 2]]
    assert plan["chunks"]["both"].tolist()[0][1:] == [0, 4] and len(plan["chunks"]["both"]) == 1
    assert plan["reused"] == [False, False] and plan["values"]["step"] in (0, 1)
    lowest = run("storage.plan_save", ranks=2, tensors=tensors, values={}, lowest_rank=True)
    assert lowest["chunks"]["both"].tolist() == [[0, 0, 4]]
    kind, text = run.error_of("storage.plan_save", ranks=2, tensors={"gap": layout([4], [[0, 0, 1], [1, 2, 2]])}, values={})
    assert kind == "ValueError" and "gap" in text


def plans_of_a_series_are_reused(run):
    tensors = {"rows": layout([3, 2], [[0, 0, 0, 2, 2], [1, 2, 0, 1, 2]]), "one": layout([2], [[0, 0, 2]])}
    first = run("storage.plan_save", ranks=2, tensors=tensors, values={}, series="a")
    assert first["reused"] == [False, False]
    again = run("storage.plan_save", ranks=2, tensors=tensors, values={}, series="a")
    assert again["reused"] == [True, True]
    assert all(torch.equal(again["chunks"][name], first["chunks"][name]) for name in tensors)
    tensors["one"] = layout([5], [[0, 0, 5]])
    changed = run("storage.plan_save", ranks=2, tensors=tensors, values={}, series="a")
    assert changed["reused"] == [False, True] and changed["chunks"]["one"].tolist() == [[0, 0, 5]]
    assert run("storage.plan_save", ranks=2, tensors=tensors, values={}, series="b")["reused"] == [False, False]


def state_dicts_are_flattened_and_nested_again(run):
    state = {"a": {"b": torch.ones(2), "c": [torch.zeros(1), 5]}, "d": [1, 2]}
    flattened = run("storage.flatten", state_dict=state)
    assert list(flattened["flat"]) == ["a.b", "a.c.0", "a.c.1", "d"]
    assert flattened["paths"]["a.c.1"] == ["a", "c", 1]
    nested = run("storage.unflatten", **flattened)
    assert nested["a"]["c"][1] == 5 and nested["d"] == [1, 2] and torch.equal(nested["a"]["b"], torch.ones(2))


def checkpoints_become_files_and_back(run):
    path, mesh = new_folder("converted"), run("mesh.init", shape=[run.world_size])
    state = {"model": {"weight": rows(run, mesh), "bias": torch.arange(3)}}
    run("storage.save", state_dict=state, path=path)
    if run.rank == 0:
        run("storage.convert", source=path, target=path + "/all.pt", to="torch_save")
        assert torch.equal(torch.load(path + "/all.pt")["model"]["weight"], torch.arange(14.0).reshape(7, 2))
        run("storage.convert", source=path + "/all.pt", target=path + "/back", to="default")
        run("storage.convert", source=path + "/back", target=path + "/tensors", to="safetensors")
        run("storage.convert", source=path + "/tensors", target=path + "/again.pt", to="torch_save")
        assert torch.load(path + "/again.pt")["model.bias"].tolist() == [0, 1, 2]
    dist.barrier()
    assert torch.equal(run("storage.read", path=path + "/back")["model"]["weight"], torch.arange(14.0).reshape(7, 2))
    destination = {"model": {"weight": torch.zeros(7, 2), "bias": torch.zeros(3, dtype=torch.int64)}}
    loaded = run("storage.load_file", state_dict=destination, path=path + "/all.pt")["state_dict"]["model"]
    assert torch.equal(loaded["weight"], torch.arange(14.0).reshape(7, 2)) and loaded["bias"].tolist() == [0, 1, 2]


def saves_and_loads_fail_where_they_are_told_to(run):
    path, last = new_folder("failing"), run.world_size - 1
    state = {"a": torch.ones(2)}
    for step, asynchronous in (("set_up_writer", False), ("local_plan", False), ("write", False), ("write", True)):
        run("storage.fail_at", step=step, ranks=[last], asynchronous=asynchronous)
        kind, text = run.error_of("storage.save", state_dict=state, path=path)
        assert kind == "CheckpointException" and text.startswith(f"rank {last}: ValueError: "), text
    for step in ("global_plan", "finish"):
        run("storage.fail_at", step=step, ranks=[last], coordinator=last)
        assert f"rank {last}: ValueError: " in run.error_of("storage.save", state_dict=state, path=path)[1]
    run("storage.save", state_dict=state, path=path)
    for step in ("read_metadata", "set_up_reader", "local_plan", "read"):
        run("storage.fail_at", step=step, ranks=[last])
        assert f"rank {last}: " in run.error_of("storage.load", state_dict=state, path=path)[1]
    run("storage.fail_at", step="read", ranks=[])
    run("storage.load", state_dict=state, path=path)


def one_rank_saves_without_a_group(run):
    path = new_folder(f"alone-{run.rank}")
    run("storage.save", state_dict={"a": torch.full((2,), float(run.rank))}, path=path, distributed=False)
    loaded = run("storage.load", state_dict={"a": torch.zeros(2)}, path=path, distributed=False)["state_dict"]
    assert loaded["a"].tolist() == [run.rank] * 2 and dist.is_initialized()


def files_go_through_streams(run):
    for stream in ("rot13", "zstd"):
        path = new_folder(stream)
        run("storage.save", state_dict={"a": torch.arange(300), "b": "text"}, path=path, stream=stream)
        loaded = run("storage.load", state_dict={"a": torch.zeros(300, dtype=torch.int64), "b": ""}, path=path)["state_dict"]
        assert torch.equal(loaded["a"], torch.arange(300)) and loaded["b"] == "text"
