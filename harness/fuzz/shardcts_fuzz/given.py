"""Loads of state dicts that the program writes itself, whole or in part, into the model and its twin."""

from shardcts_fuzz.forms import FORMS
from shardcts_fuzz.maker import tensor
from shardcts_fuzz.programs import Relation

EXTRA_STATES = (7, "other", {"b": [3, 4]}, False)


def may_be_given(program):
    """A plain one only where its entries are whole."""
    return "given" in program.features and not program.main.output and not program.tree.is_large


def load_given(program, maker):
    """Afterwards the model is its twin, which took the same: what is named has the values given, the rest its own."""
    stream, model = program.stream, program.main
    forms = {"dsd full": 2}
    if model.state_dict_type == "FULL" if model.wrapping.is_fsdp else not model.wrapping.shards_tensors:
        forms["plain"] = 2
    form = FORMS[stream.weighted(program.prefer("form", forms, ("action", "load given")))]
    entries = _entries(program)
    program.other_extra_state = program.other_extra_state or bool(program.tree.extra_state)
    partial = stream.chance(0.4)
    if partial:
        names = list(entries)
        kept = set(stream.subset(names, 0.5)) or {stream.choice(names)}
        entries = {name: value for name, value in entries.items() if name in kept}
    strict = False if partial else None
    broadcast = form.name == "dsd full" and program.world > 1 and stream.chance(0.25)
    if form.name == "plain":
        put = maker.step("model.load_state_dict", model="$" + model.name, state_dict=entries, strict=strict)
    else:
        options = {"full_state_dict": True, **({"strict": False} if partial else {}),
                   **({"broadcast_from_rank0": True} if broadcast else {})}  # fmt: skip
        put = maker.step("dsd.set_model_state_dict", model="$" + model.name, state_dict=entries, options=options)
    twin = maker.step("model.load_state_dict", model="$" + maker.twin, state_dict=entries, strict=strict)
    got, expected = maker.whole(model)
    relations = [maker.equal("LO7" if partial else "RS4", got, expected)]
    if all(entries.get(first) == entries.get(second) for first, second in program.tree.ties):
        relations.insert(0, Relation("LO7" if partial else "LO10", "given", (got.let, put.let)))
    maker.add("load given", [put, twin, got, expected], relations, rule="LO7" if partial else "LO10", tags=[("form", form.name), ("broadcast", broadcast),
                                                                                    ("partial", partial)])  # fmt: skip


def _entries(program):
    """Values that no entry has had, none like another; small integers, which every dtype has exactly."""
    stream, tree = program.stream, program.tree
    entries, first = {}, 1 + stream.below(5)
    tied = {} if stream.chance(0.3) else {second: name for name, second in tree.ties}
    for place, (name, shape) in enumerate({**tree.shapes, **tree.buffers}.items()):
        count = 1
        for size in shape:
            count *= size
        values = [float((first + 3 * place + i) % 61) for i in range(count)]
        entries[name] = entries[tied[name]] if tied.get(name) in entries else tensor(shape, values)
    for name in tree.extra_state:
        entries[name] = stream.choice(EXTRA_STATES)
    return entries
