"""Actions that save to a folder and load from it: into the same model, and on other ranks in a phase of its own."""

from shardcts_fuzz.entries import VALUES
from shardcts_fuzz.forms import FORMS
from shardcts_fuzz.loads import put_step
from shardcts_fuzz.model_state import ModelState
from shardcts_fuzz.programs import Relation
from shardcts_fuzz.wrappers import choose_wrapping

FOLDERS = ("c1", "c2")  # few, so that saves replace each other


def may_checkpoint(program):
    return "storage" in program.features and not program.main.output and bool(_forms(program))


def _forms(program):
    """Those whose entries have the names of parameters on every rank."""
    local = program.main.wrapping.is_fsdp and program.main.state_dict_type == "LOCAL"
    return {name: 1 for name in ("plain", "dsd", "dsd full") if not (local and name == "plain")}


def checkpoint(program, maker):
    """A save, after which or while the model gets other values, and a load of what it had at the save."""
    model, stream = program.main, program.stream
    form = FORMS[stream.weighted(program.prefer("form", _forms(program), ("action", "checkpoint")))]
    folder, background = stream.choice(FOLDERS), stream.chance(0.4)
    fills = [] if model.unsharded else [maker.step("model.fill", model="$" + model.name, value=stream.choice(VALUES),
                                                   buffers=True if not program.tree.lost else None)]  # fmt: skip
    got = maker.step(form.op, **form.arguments(model))
    steps = [got, *_save(maker, folder, {"model": "$" + got.let}, background, fills)]
    target = maker.step(form.op, **form.arguments(model))
    read = maker.step("storage.load", path=folder, state_dict={"model": "$" + target.let})
    steps += [target, read, _put(maker, form, model, f"${read.let}.state_dict.model")]
    after, twin = maker.whole(model)
    rule = "storage/AS1" if background else "storage/RT1"
    maker.add("checkpoint", [*steps, after, twin], [maker.equal(rule, after, twin)], rule=rule,
              tags=[("form", form.name), ("background", background)])  # fmt: skip


def _save(maker, folder, state_dict, background, changes):
    """With what changes the model: while the save is under way, or afterwards."""
    if not background:
        return [maker.step("storage.save", path=folder, state_dict=state_dict), *changes]
    begun = maker.step("storage.save_async", path=folder, state_dict=state_dict)
    return [begun, *changes, maker.step("storage.wait", save="$" + begun.let)]


def _put(maker, form, model, state_dict):
    return put_step(maker, form, model, state_dict, {"full_state_dict": True} if form.whole else {})


def may_reshard(program):
    """A phase with a step that fails has no later one. Extra state of another structure has other flat names."""
    return {"storage", "phases"} <= program.features and not (program.refused or program.other_extra_state) and not program.main.output


def reshard(program, maker):
    """What the program's ranks save at the end, others load into the same model under another wrapper."""
    model, stream = program.main, program.stream
    has_optimizer = bool(model.optimizer) and model.stepped and not model.was_frozen
    got = maker.step("dsd.get_model_state_dict", model="$" + model.name)
    whole, twin = maker.whole(model)
    steps, parts, wholes = [got, whole, twin], {"model": "$" + got.let}, {"model": whole}
    if has_optimizer:
        forms = FORMS["dsd optimizer"], FORMS["dsd optimizer full"]
        state, wholes["optimizer"] = (maker.step(form.op, **form.arguments(model)) for form in forms)
        steps, parts["optimizer"] = [*steps, state, wholes["optimizer"]], "$" + state.let
    steps += _save(maker, "last", parts, stream.chance(0.3), [])
    maker.add("save checkpoint", steps, rule="storage/RT1")
    program.worlds.append(program.draw_world())
    other = ModelState(maker.let("m"), program.tree, choose_wrapping(stream, program.tree, program.world, program.features - {"mixed"}, program.prefer))
    maker.build(other)
    _load_elsewhere(maker, other, "model", FORMS["dsd"], wholes["model"])
    flat = other.wrapping.is_fsdp and not other.wrapping.use_orig_params
    if has_optimizer and not (flat and "groups" in model.optimizer):
        create = maker.optimizer_like(other, model.optimizer)
        maker.add("create optimizer", [create], rule="OP16", model=other, tags=[("optimizer", model.optimizer["kind"])])
        _load_elsewhere(maker, other, "optimizer", FORMS["dsd optimizer"], wholes["optimizer"])


def _load_elsewhere(maker, other, part, form, saved):
    """`saved`: the step that gave the whole state dict in the phase before."""
    target = maker.step(form.op, **form.arguments(other))
    read = maker.step("storage.load", path="last", state_dict={part: "$" + target.let})
    put = _put(maker, form, other, f"${read.let}.state_dict.{part}")
    full = FORMS[form.name + " full"]
    again = maker.step(full.op, **full.arguments(other))
    if form.optimizer:
        relation = Relation("storage/OM1", "same_state", (again.let, saved.let))
    else:
        relation = maker.equal("storage/RS5", again, saved, exact=True)
    maker.add("load checkpoint", [target, read, put, again], [relation], rule=relation.rule, model=other,
              tags=[("form", form.name)])  # fmt: skip
