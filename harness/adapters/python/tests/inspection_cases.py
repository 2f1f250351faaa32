"""What test_torch_adapter.py checks of models from a description, optimizers of every kind, meshes of some ranks, and the
operations that inspect; every rank runs it."""

import torch

from shardcts.values import DTensorValue

LINEAR = {"kind": "linear", "out": 3}
KINDS = ["sgd", "adam", "adamw", "adagrad", "rmsprop", "nadam", "radam", "asgd", "adamax", "adadelta", "nested_state",
         "global_state"]


def build_tree(run, root, **args):
    return run("model.build", model="tree", args={"root": root, **args})


def trees_are_built_and_count_their_hooks(run):
    hooks = {"saves": "save_pre", "gets": "get_extra_state", "runs": "forward"}
    model = build_tree(run, {"kind": "branch", "children": {"a b": {**LINEAR, "extra_state": [1, "x"], "hooks": hooks}}})
    run("model.wrap", model=model, path="", wrapper="fully_shard")
    run("model.forward", model=model, inputs=[torch.ones(1, 4)])
    saved = run("model.state_dict", model=model)
    assert list(saved) == ["a b.weight", "a b.bias", "a b._extra_state"] and saved["a b._extra_state"] == [1, "x"]
    assert run("model.hook_runs", model=model) == {"saves": ["a b."], "gets": [""], "runs": [""]}
    assert run.error_of("model.build", model="tree", args={"root": {"kind": "cube"}})[0] == "ValueError"


def optimizers_of_every_kind_step_shards(run):
    for kind in KINDS:
        plain, sharded = (build_tree(run, LINEAR, scale=2.0**-13) for _ in range(2))
        run("model.wrap", model=sharded, path="", wrapper="fully_shard")
        for model in (plain, sharded):
            optimizer = run("optimizer.create", model=model, kind=kind)
            for _ in range(2):
                run("model.zero_grad", model=model)
                run("model.backward", model=model, output=run("model.forward", model=model, inputs=[torch.ones(2, 4)]))
                run("optimizer.step", optimizer=optimizer)
        expected = run("model.parameters", model=plain)
        for name, value in run("model.parameters", model=sharded).items():
            assert torch.equal(run("tensor.full", value=value), expected[name].detach()), (kind, name)


def options_and_entries_of_groups(run):
    model = build_tree(run, LINEAR)
    rate = torch.tensor(0.5)
    groups = [{"parameters": ["weight"], "entries": {"name": "w", "tags": [1, None]}}, {"parameters": ["bias"]}]
    optimizer = run("optimizer.create", model=model, kind="adam", groups=groups,
                    options={"lr": rate, "amsgrad": True, "maximize": True})
    first, second = run("optimizer.state_dict", optimizer=optimizer)["param_groups"]
    assert first["lr"] is second["lr"] and first["amsgrad"] and first["maximize"]
    assert first["name"] == "w" and first["tags"] == [1, None] and "name" not in second
    error = run.error_of("optimizer.create", model=model, kind="sgd", options={"nesterov": True})
    assert error[0] == "ValueError"


def schedules_move_on_and_resume(run):
    model = build_tree(run, LINEAR)
    optimizer = run("optimizer.create", model=model, kind="sgd", options={"lr": 8.0})
    assert run.error_of("optimizer.advance_schedule", optimizer=optimizer)[0] == "ValueError"
    assert run.error_of("optimizer.schedule", optimizer=optimizer, kind="exponential", factor=0.5, epoch=3)[0] == "KeyError"
    run("optimizer.schedule", optimizer=optimizer, kind="exponential", factor=0.5)
    run("optimizer.advance_schedule", optimizer=optimizer)
    group = run("optimizer.state_dict", optimizer=optimizer)["param_groups"][0]
    assert (group["lr"], group["initial_lr"]) == (4.0, 8.0)
    run("optimizer.schedule", optimizer=optimizer, kind="exponential", factor=0.5, epoch=3)
    assert run("optimizer.state_dict", optimizer=optimizer)["param_groups"][0]["lr"] == 1.0


def meshes_of_some_ranks_are_smaller_worlds(run):
    last = run.world_size - 1
    mesh = run("mesh.init", shape=[1], ranks=[last])
    described = run("mesh.describe", mesh=mesh)
    assert described["ranks"] == [last] and described["coordinate"] == ([0] if run.rank == last else [])
    assert run.error_of("mesh.init", shape=[2], ranks=[0, 0])[0] == "ValueError"
    assert run.error_of("mesh.init", shape=[2], ranks=[0])[0] == "RuntimeError"
    if run.rank != last:
        return
    model = build_tree(run, LINEAR)
    run("model.wrap", model=model, path="", wrapper="fully_shard", options={"mesh": mesh})
    weight = run("model.state_dict", model=model)["weight"]
    assert isinstance(weight, DTensorValue) and list(weight.local.shape) == [3, 4]


def chunks_are_those_of_every_rank(run):
    model = build_tree(run, {"kind": "linear", "out": 2 * run.world_size - 1})
    run("model.wrap", model=model, path="", wrapper="fully_shard")
    chunks = run("tensor.chunks", value=run("model.state_dict", model=model)["weight"])
    expected = [{"rank": rank, "offsets": [2 * rank, 0], "sizes": [2 if rank < run.world_size - 1 else 1, 4]}
                for rank in range(run.world_size)]
    assert chunks == expected


def views_share_storage(run):
    tensor = torch.arange(6.0).reshape(2, 3)
    assert run("tensor.view", value=tensor, kind="transpose", dims=[0, 1]).data_ptr() == tensor.data_ptr()
    assert run("tensor.view", value=tensor, kind="narrow", dims=[1, 1, 2]).tolist() == [[1, 2], [4, 5]]
    assert run("tensor.view", value=tensor[:1], kind="expand", dims=[4, 3]).stride() == (0, 1)
    assert run.error_of("tensor.view", value=tensor, kind="narrow", dims=[1])[0] == "ValueError"


def an_inner_module_has_a_state_dict(run):
    model = build_tree(run, {"kind": "branch", "children": {"a": {"kind": "sequential", "children": [LINEAR]}}})
    run("model.wrap", model=model, path="a.0", wrapper="fully_shard")
    assert list(run("model.state_dict", model=model, path="a")) == ["0.weight", "0.bias"]
    assert list(run("model.state_dict", model=model, path="a.0", prefix="x.")) == ["x.weight", "x.bias"]
    assert run.error_of("model.state_dict", model=model, path="b")[0] == "AttributeError"


def the_random_state_changes_with_draws(run):
    before = run("implementation.random_state")
    build_tree(run, LINEAR)
    assert torch.equal(run("implementation.random_state"), before)
    build_tree(run, LINEAR, values="random")
    assert not torch.equal(run("implementation.random_state"), before)


def gloo_is_not_delayed(run):
    assert "delayed_transport" not in run("implementation.describe")["capabilities"]
    assert run.error_of("implementation.delay", seed=1) == ("NotImplementedError",
                                                            "the transport is delayed with the option backend=local")


def hooks_on_steps_are_counted(run):
    model = build_tree(run, LINEAR)
    optimizer = run("optimizer.create", model=model, kind="adam")
    assert run("optimizer.hook_runs", optimizer=optimizer) == {"before": 0, "after": 0}
    run("optimizer.init_state", optimizer=optimizer)
    assert run("optimizer.hook_runs", optimizer=optimizer) == {"before": 1, "after": 1}


def a_forward_hook_takes_a_state_dict(run):
    model = build_tree(run, LINEAR)
    arguments = dict(model=model, inputs=[torch.ones(2, 4)], path="")
    for get in ("model.state_dict", "dsd.get_model_state_dict"):
        both = run("model.forward_and_state_dict", get=get, **arguments)
        assert list(both["state_dict"]) == ["weight", "bias"] and both["output"].shape[0] == 2
        assert torch.equal(both["state_dict"]["bias"], run("model.parameters", model=model)["bias"].detach())
    run("model.forward", model=model, inputs=[torch.ones(2, 4)])  # the hook is gone
    wrong = run.error_of("model.forward_and_state_dict", **{**arguments, "path": "a"}, get="model.state_dict")
    assert wrong[0] == "AttributeError"


def an_edited_state_dict_reaches_no_group(run):
    model = build_tree(run, LINEAR)
    optimizer = run("optimizer.create", model=model, kind="sgd", options={"lr": 0.5})
    for options in ({}, {"flatten_optimizer_state_dict": True}):
        run("dsd.edit_optimizer_state_dict", model=model, optimizers=[optimizer], options=options)
        assert run("optimizer.state_dict", optimizer=optimizer)["param_groups"][0]["lr"] == 0.5
