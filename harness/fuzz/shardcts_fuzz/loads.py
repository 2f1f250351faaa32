"""Actions that save and load, rightly and wrongly."""

from dataclasses import replace

from shardcts_fuzz.forms import is_whole
from shardcts_fuzz.maker import tensor
from shardcts_fuzz.programs import Relation

SET = {"dsd.get_model_state_dict": "dsd.set_model_state_dict",
       "dsd.get_optimizer_state_dict": "dsd.set_optimizer_state_dict"}  # fmt: skip


class Saved:
    """A state dict that the program has: of the model and of the twin, both cloned."""

    def __init__(self, let, twin, form, model, world):
        self.let, self.twin, self.form = let, twin, form
        self.whole = is_whole(form, model, world)
        self.state_dict_type = model.state_dict_type
        self.frozen = model.frozen
        self.stepped = model.stepped and not model.was_frozen  # every parameter has state
        self.used = False  # was loaded

    def fits(self, model, trains):
        """With use_orig_params PyTorch's LOCAL state dicts cannot be loaded. What is saved of an optimizer without state has
        step 1: after a load of it a training is not that of the unwrapped model, whose state dict has nothing."""
        if self.form.optimizer and (trains and not self.stepped or not self.frozen <= model.frozen):
            return False  # of what was frozen there may be no state
        if not model.wrapping.is_fsdp or self.form.name != "plain":
            return True
        local = self.state_dict_type == "LOCAL" and model.wrapping.use_orig_params
        return self.state_dict_type == model.state_dict_type and not local


def save(program, maker, form):
    model = program.main
    got = maker.step(form.op, **form.arguments(model))
    kept = maker.step("tensor.clone", value="$" + got.let)
    if form.optimizer:
        twin = maker.step("optimizer.state_dict", optimizer="$o" + maker.twin)
    else:
        twin = maker.step("model.state_dict", model="$" + maker.twin)
    kept_twin = maker.step("tensor.clone", value="$" + twin.let)
    maker.add("save", [got, kept, twin, kept_twin], rule="SM5", tags=[("form", form.name)])
    model.made_state = model.made_state or form.optimizer and not model.stepped
    program.saved.append(Saved(kept.let, kept_twin.let, form, model, program.world))


def put_step(maker, form, model, state_dict, options):
    """The step that loads a state dict of this form. `options`: of the distributed functions."""
    if form.op == "model.state_dict":
        return maker.step("model.load_state_dict", model="$" + model.name, state_dict=state_dict)
    optimizers = ["$o" + model.name] if form.optimizer else None
    return maker.step(SET[form.op], model="$" + model.name, optimizers=optimizers, state_dict=state_dict,
                      options=options or None)  # fmt: skip


def put(program, maker, saved, state_dict=None):
    """The step that loads it."""
    model, form = program.main, saved.form
    state_dict = "$" + saved.let if state_dict is None else state_dict
    options = {}
    if form.whole:
        options["full_state_dict"] = True
        if form.rank0 or ("options" in program.features and program.stream.chance(0.4)):
            options["broadcast_from_rank0"] = True
    if "flatten_optimizer_state_dict" in form.options:
        options["flatten_optimizer_state_dict"] = True
    return put_step(maker, form, model, state_dict, options)


def load(program, maker, saved):
    """What was saved is there again after a load, also after a second one."""
    model, form = program.main, saved.form
    steps, saved.used = [put(program, maker, saved)], True
    if program.stream.chance(0.2):
        steps.append(put(program, maker, saved))
    if form.optimizer:
        steps.append(maker.step("optimizer.load_state_dict", optimizer="$o" + maker.twin, state_dict="$" + saved.twin))
    else:
        steps.append(maker.step("model.load_state_dict", model="$" + maker.twin, state_dict="$" + saved.twin))
    again = maker.step(form.op, **form.arguments(model))
    steps.append(again)
    relations = [maker.equal("LO10", again, saved.let, exact=True)]
    rule = "OP4" if form.optimizer else "LO10"
    broadcast = any("broadcast_from_rank0" in (step.args.get("options") or {}) for step in steps)
    maker.add("load", steps, relations, rule=rule, tags=[("form", form.name), ("broadcast", broadcast)])
    if form.optimizer:
        model.stepped = model.stepped or saved.stepped


def refuse(program, maker):
    """A wrong load is refused on every rank, and the next right one works."""
    stream, model = program.stream, program.main
    saved = stream.choice(program.refusable())
    names = list(program.tree.shapes)
    entries = {name: f"${saved.let}.{name}" for name in names}
    victim = stream.choice(names)
    faults = {"missing": 1, "unexpected": 1, "shape": 1}
    if saved.form.name == "plain" and model.wrapping.family in ("fully_shard", "hsdp"):
        faults["form"] = 1
    alone = "one_rank" in program.features and program.world > 1 and model.wrapping.parts == 1
    if alone and saved.form.op in SET:
        faults["options"] = 1
    fault = stream.weighted(program.prefer("fault", faults, ("form", saved.form.name)))
    rule = {"missing": "LO3", "unexpected": "LO4", "shape": "LO1", "form": "RS6", "options": "RK6"}[fault]
    sharded = model.wrapping.is_fsdp and saved.state_dict_type == "SHARDED" and not model.wrapping.mesh
    one_rank = alone and fault != "form" and (saved.form.op in SET or sharded) and (fault == "options" or stream.chance(0.5))
    if fault == "options":
        entries = "$" + saved.let
    elif fault == "missing":
        del entries[victim]
    elif fault == "unexpected":
        entries["nobody"] = f"${saved.let}.{victim}"
    else:
        shape = [*program.tree.shapes[victim], 2] if saved.whole else [1, 1, 1, 1, 1]
        shape = program.tree.shapes[victim] if fault == "form" else shape
        count = 1
        for size in shape:
            count *= size
        entries[victim] = tensor(shape, [1.0] * count)
    if not entries:
        entries["nobody"] = f"${saved.let}.{victim}"
    wrong = put(program, maker, saved, entries)
    if one_rank:  # the last one alone has the wrong state dict
        options = {name: on for name, on in wrong.args.get("options", {}).items() if name != "broadcast_from_rank0"}
        last = {**wrong.args, **({"options": options} if options else {})}
        if fault == "options":
            last = {**last, "options": {**options, "strict": False}}
        every = {**last, "options": options} if fault == "options" else last
        wrong = replace(wrong, args={**every, "state_dict": "$" + saved.let}, last_rank_args=last)
        fault, rule = fault + " on one rank", rule if fault == "options" else "LO6"
    distributed = saved.form.op in SET
    tags = [("form", saved.form.name), ("fault", fault), *([("has", "failed load")] if distributed else [])]
    maker.add("refuse", [wrong], [Relation(rule, "refused", (wrong.let,))], tags=tags)
    program.refused = True
    model.after_error, model.failed_load = True, model.failed_load or distributed
    load(program, maker, saved)
    model.after_error = False
