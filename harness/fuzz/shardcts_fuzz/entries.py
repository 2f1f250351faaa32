"""Actions on single entries of state dicts: what shares storage with what, and what is loaded of an entry that was changed."""

from shardcts_fuzz.forms import FORMS, is_whole, model_forms
from shardcts_fuzz.loads import put_step
from shardcts_fuzz.programs import Relation

VALUES = (0.5, -2.0, 3.0)


def may_assign(program):
    """Not where something else knows the parameters as they were: an optimizer, a reducer of gradients, a unit."""
    model = program.main
    known = model.optimizer or program.tree.ties or program.tree.has_extra_state or model.gradients or model.output or model.unsharded
    return "assign" in program.features and model.wrapping.family in ("plain", "fully_shard", "hsdp") and not known


def assign(program, maker):
    """The given tensors become the parameters: what is written into them shows."""
    model = program.main
    steps, given = [], []
    for name in (model.name, maker.twin):
        got = maker.step("model.state_dict", model="$" + name)
        kept = maker.step("tensor.clone", value="$" + got.let)
        put = maker.step("model.load_state_dict", model="$" + name, state_dict="$" + kept.let, assign=True)
        steps, given = [*steps, got, kept, put], [*given, kept]
    relations = []
    padded = model.wrapping.shards_tensors and not program.tree.layouts(program.world) <= {"even", "plain"}
    if not padded and program.stream.chance(0.7):  # padding needs storage of its own
        value = program.stream.choice(VALUES)
        steps += [maker.step("tensor.fill", value="$" + kept.let, scalar=value) for kept in given]
        seen = maker.step("model.state_dict", model="$" + model.name)
        steps += [seen, maker.step("tensor.clone", value="$" + given[0].let)]
        relations.append(maker.equal("AL13", seen, steps[-1], exact=True))
    after, twin = maker.whole(model)
    trained = maker.pair("model.parameters", model)
    relations += [maker.equal("AL13", after, twin), Relation("DT12", "trained", tuple(step.let for step in trained))]
    maker.add("assign", [*steps, after, twin, *trained], relations, rule="AL13", tags=[("form", "plain")])


def may_edit(program):
    return "edits" in program.features and bool(_editable(program)) and not program.main.output


def _editable(program):
    """Forms whose entries have the names of parameters on every rank."""
    local = program.main.wrapping.is_fsdp and program.main.state_dict_type == "LOCAL"
    forms = [form for form in model_forms(False) if not (local and form.name == "plain")]
    return {form.name: 4 if form.name == "plain" else 1 for form in forms}


def edit_and_load(program, maker):
    """A state dict of which one entry is filled is loaded, by the twin as well. Of a tied parameter the last name counts."""
    model, stream = program.main, program.stream
    form = FORMS[stream.weighted(program.prefer("form", _editable(program), ("action", "edit")))]
    names = list(program.tree.shapes)
    second = [name for names_of_one in program.tree.ties for name in names_of_one[1:]]
    name = stream.choice(second) if second and stream.chance(0.7) else stream.choice(names)
    value = stream.choice(VALUES)
    got = maker.step(form.op, **form.arguments(model))
    twin = maker.step("model.state_dict", model="$" + maker.twin)
    kept = [maker.step("tensor.clone", value="$" + one.let) for one in (got, twin)]
    fills = [maker.step("tensor.fill", value=f"${one.let}.{name}", scalar=value) for one in kept]
    put = put_step(maker, form, model, "$" + kept[0].let, {"full_state_dict": True} if form.whole else {})
    load = maker.step("model.load_state_dict", model="$" + maker.twin, state_dict="$" + kept[1].let)
    after, expected = maker.whole(model)
    rule = "TB1" if name in second else "LO10"
    maker.add("edit", [got, twin, *kept, *fills, put, load, after, expected], [maker.equal(rule, after, expected)], rule="LO10",
              tags=[("form", form.name), ("tied", name in second)])  # fmt: skip


def may_own(program):
    model = program.main
    return ("filling" in program.features or program.tree.ties) and not model.unsharded and not model.output


def own(program, maker):
    """Entries of a whole state dict stay when the model changes; of a tied parameter each name has its own."""
    model, stream = program.main, program.stream
    unit = model.wrapping.is_fsdp and model.state_dict_type != "LOCAL"
    form = FORMS["plain" if unit and (program.tree.ties or stream.chance(0.6)) else "dsd full"]
    got = maker.step(form.op, **form.arguments(model))
    steps, relations = [got], []
    if unit and form.name == "plain" and program.tree.ties:
        first, second = stream.choice(program.tree.ties)
        before, after = (maker.step("tensor.clone", value=f"${got.let}.{first}") for _ in range(2))
        steps += [before, maker.step("tensor.fill", value=f"${got.let}.{second}", scalar=stream.choice(VALUES)), after]
        relations.append(maker.equal("AL11", after, before, exact=True))
    if is_whole(form, model, program.world):
        before = maker.step("tensor.clone", value="$" + got.let)
        fills = maker.pair("model.fill", model, value=stream.choice(VALUES))
        after = maker.step("tensor.clone", value="$" + got.let)
        steps += [before, *fills, after]
        relations.append(maker.equal("AL5", after, before, exact=True))
    maker.add("own", steps, relations, rule="SM5", tags=[("form", form.name)])


def serialize(program, maker):
    """What is read from bytes is what was written."""
    model, stream = program.main, program.stream
    form = FORMS[stream.weighted(program.prefer("form", {form.name: 1 for form in model_forms(False)}, ("action", "serialize")))]
    got = maker.step(form.op, **form.arguments(model))
    kept = maker.step("tensor.clone", value="$" + got.let)
    data = maker.step("state.serialize", state_dict="$" + kept.let)
    back = maker.step("state.deserialize", data="$" + data.let)
    maker.add("serialize", [got, kept, data, back], [Relation("LO16", "equal", (back.let, kept.let))], rule="LO16",
              tags=[("form", form.name)])  # fmt: skip
