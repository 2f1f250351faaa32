"""What test_torch_adapter.py checks, one function for each case; every rank runs it."""

import os
from pathlib import Path

import torch
from torch import nn

from shardcts.values import DTensorValue, MeshLayout

MLP_PLAN = {
    f"{i}.{name}": {"style": style}
    for i in range(3) for name, style in (("in_proj", "colwise"), ("out_proj", "rowwise"))
}


def sharded_mlps(run, dim, options=None, reshard=None):
    model = run("model.build", model="nested_mlp", args={"dim": dim})
    options = dict(options or {}, **({} if reshard is None else {"reshard_after_forward": reshard}))
    for path in ("0", "1", "2", ""):
        run("model.wrap", model=model, path=path, wrapper="fully_shard", options=options)
    return model


def describes_itself(run):
    described = run("implementation.describe")
    assert described["name"] == "torch" and described["version"] == torch.__version__
    assert "fsdp2" in described["capabilities"] and described["devices"] == ["cpu"]
    assert "torch.Tensor.pin_memory" in [patch["target"] for patch in described["patches"]]
    assert all(patch["reason"] for patch in described["patches"])


def ignored_states_have_names_without_wrappers(run):
    model = run("model.build", model="linear_stack", args={"sizes": [2, 2, 2]})
    run("model.wrap", model=model, path="0", wrapper="fsdp", options={"ignored_states": ["0.bias"]})
    run("model.wrap", model=model, path="", wrapper="fsdp", options={"ignored_states": ["0.bias", "1.bias"]})
    managed = {unit["path"]: unit["flat_parameter"]["fqns"] for unit in run("fsdp.units", model=model)}
    assert managed == {"": ["1.weight"], "0": ["weight"]}, managed


def readers_of_groups_give_way(run):
    """The first case that makes groups. A reader that has peers has run, and so has its name, before its group is there;
    that of a rank alone may still be without one. It has nothing to read."""
    run("mesh.init", shape=[2, run.world_size // 2], dim_names=["replicate", "shard"])
    groups_with_peers = 1 if run.world_size == 2 else 3  # the world's, and those of the mesh's dimensions that are not it
    assert niceness_of_readers().count(19) >= groups_with_peers
    assert os.getpriority(os.PRIO_PROCESS, 0) == os.getpriority(os.PRIO_PROCESS, os.getppid())


def niceness_of_readers():
    readers = [task for task in Path("/proc/self/task").iterdir() if (task / "comm").read_text().strip() == "gloo_tcp_loop"]
    return [os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in readers]


def parameters_share_storage_with_the_state_dict(run):
    model = sharded_mlps(run, 5)
    parameters = run("model.parameters", model=model)
    state = run("model.state_dict", model=model)
    assert list(parameters) == list(state)
    for name, parameter in parameters.items():
        assert isinstance(parameter, DTensorValue) and parameter.is_parameter and parameter.requires_grad
        assert isinstance(state[name], DTensorValue) and not state[name].is_parameter
        assert not parameter.local.requires_grad
        assert state[name].local.data_ptr() == parameter.local.data_ptr()
        assert state[name].mesh == MeshLayout("cpu", [run.world_size], [], list(range(run.world_size)))
        assert state[name].placements == ["S(0)"]


def uneven_shards_are_those_of_ceil_chunking(run):
    model = sharded_mlps(run, 5)
    weight = run("model.parameters", model=model)["0.out_proj.weight"]
    rows = -(-5 // run.world_size)
    begin, end = min(5, run.rank * rows), min(5, (run.rank + 1) * rows)
    assert weight.shape == [5, 20] and list(weight.local.shape) == [end - begin, 20]


def load_copies_into_place_without_synchronizing(run):
    model = sharded_mlps(run, 3)
    before = {name: value.local.data_ptr() for name, value in run("model.parameters", model=model).items()}
    run("model.fill", model=model, value=1.0)
    loaded = {}
    for name, value in run("model.state_dict", model=model).items():
        loaded[name] = run("tensor.clone", value=value)
        run("tensor.fill", value=loaded[name], scalar=42.0 + run.rank)
        assert (value.local == 1).all()
    result = run("model.load_state_dict", model=model, state_dict=loaded)
    assert result == {"missing_keys": [], "unexpected_keys": []}
    for name, value in run("model.parameters", model=model).items():
        assert (value.local == 42 + run.rank).all()
        assert value.local.data_ptr() == before[name]


def full_tensor_is_the_unsharded_value(run):
    plain = run("model.build", model="nested_mlp", args={"dim": 5})
    run("implementation.seed", seed=42)
    sharded = sharded_mlps(run, 5)
    expected = run("model.state_dict", model=plain)
    for name, value in run("model.state_dict", model=sharded).items():
        assert torch.equal(run("tensor.full", value=value), expected[name]), name


def forward_leaves_parameters_unsharded_until_the_state_dict(run):
    model = sharded_mlps(run, 4, reshard=False)
    output = run("model.forward", model=model, inputs=[torch.ones(2, 4)])
    assert output.requires_grad and not isinstance(output, DTensorValue)
    assert isinstance(run("model.parameters", model=model)["0.in_proj.weight"], torch.Tensor)
    assert isinstance(run("model.state_dict", model=model)["0.in_proj.weight"], DTensorValue)


def training_steps_show_in_a_cached_state_dict(run):
    model = run("model.build", model="linear", args={"in": 3, "out": 3, "bias": False})
    run("model.wrap", model=model, path="", wrapper="fully_shard", options={"reshard_after_forward": True})
    optimizer = run("optimizer.create", model=model, kind="adamw", options={"lr": 1e-2, "beta1": 0.8})
    state = run("model.state_dict", model=model)["weight"]
    storage = state.local.untyped_storage().data_ptr()
    for _ in range(3):
        before = state.local.clone()
        run("optimizer.zero_grad", optimizer=optimizer)
        run("model.backward", model=model, output=run("model.forward", model=model, inputs=[torch.rand(3, 3)]))
        assert isinstance(run("model.gradients", model=model)["weight"], DTensorValue)
        run("optimizer.step", optimizer=optimizer)
        local = run("model.parameters", model=model)["weight"].local
        assert local.untyped_storage().data_ptr() == storage
        assert local.numel() == 0 or not torch.equal(state.local, before)


def reallocate_moves_storage_and_keeps_values(run):
    model = run("model.build", model="linear", args={"in": 3, "out": 3, "bias": False})
    run("model.wrap", model=model, path="", wrapper="fully_shard", options={"reshard_after_forward": True})
    optimizer = run("optimizer.create", model=model, kind="sgd", options={"lr": 0.1})
    before = run("model.state_dict", model=model)["weight"]
    run("model.reallocate", model=model)
    after = run("model.parameters", model=model)["weight"]
    assert after.local.untyped_storage().data_ptr() != before.local.untyped_storage().data_ptr()
    assert torch.equal(after.local, before.local)
    run("model.backward", model=model, output=run("model.forward", model=model, inputs=[torch.rand(3, 3)]))
    run("optimizer.step", optimizer=optimizer)


def offloaded_stack_on_meta(run, pin_memory):
    policy = {"kind": "cpu", "pin_memory": pin_memory}
    model = run("model.build", model="linear_stack", args={"sizes": [4, 4, 4], "bias": False}, device="meta")
    for path in ("0", "1", ""):
        run("model.wrap", model=model, path=path, wrapper="fully_shard", options={"offload_policy": policy})
    return model


def forward_on_meta_is_an_error(run):
    model = offloaded_stack_on_meta(run, pin_memory=True)
    kind, message = run.error_of("model.forward", model=model, inputs=[torch.rand(4, 4)])
    assert kind == "RuntimeError" and "meta" in message


def meta_model_is_materialized_by_assignment(run):
    for pin_memory in (True, False):
        model = offloaded_stack_on_meta(run, pin_memory)
        names = ["0.weight", "1.weight"]
        for name in names:
            parameter = run("model.parameters", model=model)[name]
            mesh = run("tensor.mesh", value=parameter)
            value = run("tensor.distribute", value=torch.randn(4, 4), mesh=mesh, placements=parameter.placements)
            value = run("tensor.to", value=value, device="cpu")
            result = run("model.load_state_dict", model=model, state_dict={name: value}, strict=False, assign=True)
            assert result["missing_keys"] == [other for other in names if other != name]
            loaded = run("model.parameters", model=model)[name]
            assert loaded.is_parameter and torch.equal(loaded.local, value.local)
        output = run("model.forward", model=model, inputs=[torch.rand(4, 4)])
        run("model.backward", model=model, output=output)
        assert all(value.local.device.type == "cpu" for value in run("model.state_dict", model=model).values())
        assert all(grad.local.device.type == "cpu" for grad in run("model.gradients", model=model).values())


def tied_parameters_keep_both_names(run):
    model = run("model.build", model="transformer", args={"dropout_p": 0.0})
    run("model.broadcast_parameters", model=model, src=0)
    reference = run("model.copy", model=model)
    for path in ("layers.0", "layers.1", ""):
        run("model.wrap", model=model, path=path, wrapper="fully_shard")
    state = run("model.state_dict", model=model)
    expected = run("model.state_dict", model=reference)
    assert list(state) == list(expected) and len(state) == 29
    assert len(run("model.parameters", model=model)) == 28
    assert len(run("model.parameters", model=model, remove_duplicate=False)) == 29
    for name, value in state.items():
        assert torch.equal(run("tensor.full", value=value), expected[name])
    tokens = torch.arange(32).reshape(2, 16) % 8
    outputs = [run("model.forward", model=which, inputs=[tokens]) for which in (model, reference)]
    assert torch.equal(outputs[0], outputs[1])


def redistribution_and_partial_values(run):
    mesh = run("mesh.init", shape=[run.world_size])
    whole = torch.arange(5 * 3, dtype=torch.float32).reshape(5, 3)
    sharded = run("tensor.distribute", value=whole, mesh=mesh, placements=["S(0)"])
    other = run("tensor.redistribute", value=sharded, placements=["S(1)"])
    assert other.placements == ["S(1)"] and torch.equal(run("tensor.full", value=other), whole)
    layout = MeshLayout("cpu", [run.world_size], [], list(range(run.world_size)))
    partial = DTensorValue(whole / run.world_size, layout, ["P(sum)"], [5, 3], [3, 1])
    assert torch.allclose(run("tensor.full", value=partial), whole)


def errors_are_those_of_pytorch(run):
    model = sharded_mlps(run, 4)
    kind, message = run.error_of("model.load_state_dict", model=model, state_dict={"bad": 1})
    assert kind == "RuntimeError" and "Missing key" in message and "Unexpected key" in message
    mesh = run("mesh.init", shape=[run.world_size], dim_names=["x"])
    assert run.error_of("mesh.submesh", mesh=mesh, dim_names=["nowhere"])[0] == "KeyError"
    assert run.error_of("model.build", model="mlp", args={"dim": -1}) == (
        "ValueError", "model 'mlp': argument 'dim' must be a positive int, got -1")
    assert run.error_of("model.set_local", model=model, values={"nowhere": torch.ones(1)})[0] == "KeyError"
    assert run.error_of("model.set_local", model=model, values={"0.in_proj.bias": torch.ones(1)})[0] == "RuntimeError"
    assert run.error_of("model.teleport")[0] == "NotImplementedError"
    run("implementation.reset")
    error = run.error_of("model.state_dict", model=model)
    assert error == ("ValueError", f"handle model:{model.id} is not valid any more")


def hsdp_replicates_over_dim_0(run):
    mesh = run("mesh.init", shape=[run.world_size // 2, 2], dim_names=["dp_replicate", "dp_shard"])
    described = run("mesh.describe", mesh=mesh)
    assert described["coordinate"] == [run.rank // 2, run.rank % 2]
    again = run("mesh.init", shape=[run.world_size // 2, 2], dim_names=["dp_replicate", "dp_shard"])
    assert run.dispatcher._adapter.handles.get(mesh, "mesh") is run.dispatcher._adapter.handles.get(again, "mesh")
    model = sharded_mlps(run, 16, {"mesh": mesh, "shard_placement": "largest_dim"})
    parameters = run("model.parameters", model=model)
    assert parameters["0.in_proj.weight"].placements == ["R", "S(0)"]
    assert parameters["0.out_proj.weight"].placements == ["R", "S(1)"]


def tensor_parallel_below_fully_shard_is_strided(run):
    mesh = run("mesh.init", shape=[2, run.world_size // 2], dim_names=["dp", "tp"])
    plain = run("model.build", model="mlp_sequence", args={"dim": 4})
    model = run("model.copy", model=plain)
    run("model.parallelize", model=model, mesh=run("mesh.submesh", mesh=mesh, dim_names=["tp"]), plan=MLP_PLAN)
    dp = run("mesh.submesh", mesh=mesh, dim_names=["dp"])
    for path in ("0", "1", "2", ""):
        run("model.wrap", model=model, path=path, wrapper="fully_shard", options={"mesh": dp})
    state = run("model.state_dict", model=model)
    tp = run.world_size // 2
    assert state["0.in_proj.weight"].placements == ([f"_S(0,{tp})", "S(0)"] if tp > 1 else ["S(0)", "S(0)"])
    assert state["0.out_proj.weight"].placements == ["S(0)", "S(1)"]
    assert state["0.in_proj.weight"].mesh.dim_names == ["dp", "tp"]
    expected = run("model.state_dict", model=plain)
    for name, value in state.items():
        assert torch.equal(run("tensor.full", value=value), expected[name]), name
        assert torch.equal(run("tensor.full", value=run("tensor.clone", value=value)), expected[name]), name
    run("model.load_state_dict", model=model, state_dict={n: run("tensor.clone", value=v) for n, v in state.items()})
    inputs = [torch.ones(2, 4)]
    outputs = [run("model.forward", model=which, inputs=inputs) for which in (model, plain)]
    assert torch.allclose(outputs[0], outputs[1], atol=1e-6)
    run("model.backward", model=model, output=outputs[0], reduction="mean")


def hsdp_with_tensor_parallel(run):
    mesh = run("mesh.init", shape=[2, 2, run.world_size // 4], dim_names=["dp_replicate", "dp_shard", "tp"])
    model = run("model.build", model="mlp_sequence", args={"dim": 6})
    run("model.parallelize", model=model, mesh=run("mesh.submesh", mesh=mesh, dim_names=["tp"]), plan=MLP_PLAN)
    dp = run("mesh.submesh", mesh=mesh, dim_names=["dp_replicate", "dp_shard"])
    for path in ("0", "1", "2", ""):
        run("model.wrap", model=model, path=path, wrapper="fully_shard", options={"mesh": dp})
    state = run("model.state_dict", model=model)
    assert state["0.out_proj.weight"].placements == ["R", "S(0)", "S(1)"]
    assert state["0.out_proj.weight"].mesh.shape == [2, 2, run.world_size // 4]
    loaded = {name: run("tensor.clone", value=value) for name, value in state.items()}
    run("model.load_state_dict", model=model, state_dict=loaded)


def unseen_world_mesh_comes_from_a_recording(run):
    layout = MeshLayout("cpu", [run.world_size], ["recorded"], list(range(run.world_size)))
    value = DTensorValue(torch.full((1, 2), float(run.rank)), layout, ["S(0)"], [run.world_size, 2], [2, 1])
    assert run("tensor.full", value=value)[:, 0].tolist() == list(range(run.world_size))
    strange = MeshLayout("cpu", [1], ["alone"], [0])
    value = DTensorValue(torch.ones(1), strange, ["R"], [1], [1])
    assert run.error_of("tensor.full", value=value)[0] == "ValueError"


def reset_frees_models(run):
    import weakref

    handle = sharded_mlps(run, 4)
    run("model.forward", model=handle, inputs=[torch.ones(2, 4)])
    run.error_of("model.load_state_dict", model=handle, state_dict={})
    model = weakref.ref(run.dispatcher._adapter.handles.get(handle, "model"))
    assert isinstance(model(), nn.Module)
    run("implementation.reset")
    assert model() is None


def four_nets(run, wrap=True, frozen=()):
    model = run("model.build", model="four_nets")
    run("model.set_requires_grad", model=model, values=dict.fromkeys(frozen, False))
    if wrap:
        run("model.wrap", model=model, path="", wrapper="fsdp", options={"use_orig_params": True})
    return model


def step(run, model, optimizer, seed):
    batch = torch.rand(8, 8, generator=torch.Generator().manual_seed(seed))
    output = run("model.forward", model=model, inputs=[batch])
    run("model.backward", model=model, output=output, gradient=output.detach())
    run("optimizer.step", optimizer=optimizer)


def optimizers_have_groups_and_state_dicts(run):
    model = run("model.build", model="nested_blocks")
    names = list(run("model.parameters", model=model))
    groups = [{"parameters": names[:2]}, {"parameters": names[2:], "options": {"weight_decay": 0.9}}]
    optimizer = run("optimizer.create", model=model, kind="adam", options={"lr": 0.5, "beta1": 0.8}, groups=groups)
    run("optimizer.init_state", optimizer=optimizer)
    state_dict = run("optimizer.state_dict", optimizer=optimizer)
    assert list(state_dict["state"]) == list(range(16)) and state_dict["state"][0]["step"].shape == ()
    first, second = state_dict["param_groups"]
    assert first["params"] == [0, 1] and second["params"] == list(range(2, 16))
    assert first["betas"] == [0.8, 0.999] and (first["weight_decay"], second["weight_decay"]) == (0, 0.9)
    copy = run("tensor.clone", value=state_dict)
    run("optimizer.init_state", optimizer=optimizer)
    assert copy["state"][3]["step"] == 1 and state_dict["state"][3]["step"] == 2
    run("optimizer.load_state_dict", optimizer=optimizer, state_dict=copy)
    assert run("optimizer.state_dict", optimizer=optimizer)["state"][3]["step"] == 1
    copy["param_groups"].pop()
    assert run.error_of("optimizer.load_state_dict", optimizer=optimizer, state_dict=copy)[0] == "ValueError"
    error = run.error_of("optimizer.create", model=model, kind="adam", groups=[{"parameters": ["nowhere"]}])
    assert error[0] == "KeyError"


def named_optimizers_show_clean_names(run):
    model = run("model.build", model="partly_replicated", args={"sparse": "sparse0", "ranks": run.world_size})
    run("model.wrap", model=model, path="dense", wrapper="fsdp", options={"use_orig_params": True})
    names = sorted(run("model.parameters", model=model))
    optimizer = run("optimizer.create", model=model, kind="adam", named=True)
    run("optimizer.init_state", optimizer=optimizer)
    state_dict = run("optimizer.state_dict", optimizer=optimizer)
    assert sorted(state_dict["state"]) == names and state_dict["param_groups"][0]["params"] == names
    saved = run("fsdp.optim_state_dict", model=model, optimizer=optimizer, state_dict=state_dict)
    converted = run(
        "fsdp.optim_state_dict_to_load", model=model, optimizer=optimizer, state_dict=saved, is_named_optimizer=True)
    assert sorted(converted["state"]) == names
    run("optimizer.load_state_dict", optimizer=optimizer, state_dict=converted)
    run("optimizer.zero_grad", optimizer=optimizer)


def saved_optimizer_state_is_that_of_an_unsharded_twin(run):
    """Also of parameters that are frozen at first, and again later."""
    frozen = ("net1.0.weight", "net1.0.bias")
    models = [four_nets(run, wrap, frozen) for wrap in (True, False)]
    sharded, plain = optimizers = [run("optimizer.create", model=model, kind="adam") for model in models]
    names = list(run("model.parameters", model=models[1]))
    for iteration in range(3):
        for model, optimizer in zip(models, optimizers, strict=True):
            run("model.set_requires_grad", model=model, values=dict.fromkeys(frozen, iteration == 1))
            run("model.zero_grad", model=model)  # PyTorch steps what is frozen and still has a gradient
            step(run, model, optimizer, iteration)
        saved = run("fsdp.optim_state_dict", model=models[0], optimizer=sharded)["state"]
        expected = {names[key]: entry for key, entry in run("optimizer.state_dict", optimizer=plain)["state"].items()}
        assert sorted(saved) == sorted(expected) and len(saved) == (6 if iteration == 0 else 8)
        for name, entry in expected.items():
            for state, value in entry.items():
                assert torch.allclose(saved[name][state], value), (iteration, name, state)


def local_values_are_set_by_the_names_of_parameters(run):
    """Under wrappers that PyTorch's own names show."""
    for wrapper in ("fsdp", "ddp"):
        model = run("model.build", model="linear_stack", args={"sizes": [3, 4, 2]})
        run("model.wrap", model=model, path="", wrapper=wrapper)
        values = {name: torch.ones_like(value) for name, value in run("model.parameters", model=model).items()}
        run("model.set_local", model=model, values=values)
        for name, value in run("model.parameters", model=model).items():
            assert torch.equal(value, values[name]), (wrapper, name)
