"""Changes that make a program simpler and leave its actions: each is a function of a program, which gives the simpler one
or None where there is nothing to do."""

import json
from dataclasses import replace

from shardcts_fuzz.programs import given_by, used_by

LESS = {"out": 1, "count": 1}
READS = {"model.state_dict", "dsd.get_model_state_dict", "optimizer.state_dict", "tensor.clone", "tensor.full", "sharded.gather",
         "model.buffers", "model.gradients", "model.parameters"}  # fmt: skip


def simpler(program):
    """Of the present program."""
    changes = [drop_twin]
    for world in range(1, program.world):
        changes.append(in_world(world, 0))
    for phase, later in enumerate(program.later, 1):
        changes += [in_world(world, phase) for world in range(1, later)]
    changes += [drop_option(i, name) for i, name in _options(program)]
    changes += [edit_tree(edit) for edit in _tree_edits(program)]
    changes += [save_at_once(step.let) for step in program.steps() if step.op == "storage.save_async"]
    changes += [drop_step(step.let) for step in program.steps() if step.op in READS]
    return changes


def drop_twin(program):
    """Every step of the unsharded twin."""
    return _without_results(program, {"t"})


def drop_step(let):
    """A step whose result nothing uses, without the rest of its action. One that changes the model or its twin stays: they
    would no longer be the same."""
    def change(program):
        users = set().union(*(used_by(step) for step in program.steps()))
        action = next((a for a in program.actions if any(s.let == let for s in a.steps)), None)
        if let in users or action is None or len(action.steps) == 1:
            return None
        return _without_results(program, {let})

    return change


def save_at_once(let):
    """In place of a save in the background."""
    def change(program):
        waits = {step.let for step in program.steps() if step.op == "storage.wait" and step.args["save"] == "$" + let}
        return _without_results(_edit_steps(program, lambda step: replace(step, op="storage.save") if step.let == let else step), waits)

    return change


def _without_results(program, gone):
    gone, actions = set(gone), []
    for action in program.actions:
        steps = []
        for step in action.steps:
            if step.let in gone or used_by(step) & gone:
                gone |= given_by(step)
            else:
                steps.append(step)
        relations = tuple(r for r in action.relations if not gone & set(r.steps))
        if steps:
            actions.append(replace(action, steps=tuple(steps), relations=relations))
    return replace(program, actions=tuple(actions))


def in_world(world, phase):
    def change(program):
        worlds = [program.world, *program.later]
        if phase >= len(program.phases()) or any(step.op == "mesh.init" for step in program.phases()[phase][1]):
            return None
        worlds[phase] = world
        return replace(program, world=worlds[0], later=tuple(worlds[1:]))

    return change


def _options(program):
    for step in program.steps():
        for name in ("options", "groups"):
            if name in step.args:
                yield step.let, (name,)
        for name in step.args.get("options", {}) if isinstance(step.args.get("options"), dict) else ():
            yield step.let, ("options", name)


def drop_option(let, path):
    def edit(step):
        if step.let != let:
            return step
        last = step.last_rank_args
        return replace(step, args=_without_option(step.args, path), last_rank_args=last and _without_option(last, path))

    return lambda program: _edit_steps(program, edit)


def _without_option(args, path):
    args = json.loads(json.dumps(args))
    inside = args
    for name in path[:-1]:
        inside = inside.get(name, {})
    if inside.pop(path[-1], None) is not None and len(path) > 1 and not inside:
        args.pop(path[0])
    return args


def _edit_steps(program, edit):
    actions = [replace(action, steps=tuple(edit(step) for step in action.steps)) for action in program.actions]
    return replace(program, actions=tuple(actions))


def _tree_edits(program):
    """Edits of the description that all models of the program share."""
    for step in program.steps():
        if step.op == "model.build":
            yield from _edits_of(step.args["args"]["root"], ())
            if "dtype" in repr(step.args):
                yield ("dtype", (), None, None)
            for name in ("frozen", "ties"):
                if name in step.args["args"]:
                    yield ("pop", (), name, True)
            return


def _edits_of(module, path):
    for name in ("parameters", "buffers", "extra_state"):
        if name in module:
            yield ("pop", path, name, False)
    if module.get("bias"):
        yield ("set", path, "bias", False)
    for name, least in LESS.items():
        if module.get(name, least) > least:
            yield ("set", path, name, least)
            yield ("set", path, name, module[name] - 1)
    for parameter in module.get("parameters", {}).values():
        if len(parameter["shape"]) > 1:
            yield ("shape", path, None, None)
    children = module.get("children", {})
    for name, child in children.items():
        if len(children) > 1:
            yield ("child", path, name, None)
        yield from _edits_of(child, (*path, name))


def edit_tree(edit):
    kind, path, name, value = edit

    def of_step(step):
        if step.op != "model.build":
            return step
        args = json.loads(json.dumps(step.args))
        if kind == "dtype":
            _drop_dtypes(args["args"]["root"])
            return replace(step, args=args)
        module = args["args"]["root"]
        for part in path:
            module = module.get("children", {}).get(part)
            if module is None:
                return step
        if kind == "pop":
            (args["args"] if value else module).pop(name, None)
        elif kind == "set":
            module[name] = value
        elif kind == "shape":
            for parameter in module.get("parameters", {}).values():
                parameter["shape"] = parameter["shape"][:1]
        elif name in module["children"]:
            del module["children"][name]
        return replace(step, args=args)

    return lambda program: _edit_steps(program, of_step)


def _drop_dtypes(module):
    """All parameters are float32 then."""
    module.pop("dtype", None)
    for parameter in module.get("parameters", {}).values():
        parameter.pop("dtype", None)
    for child in module.get("children", {}).values():
        _drop_dtypes(child)
