"""What a program may do next. Each kind of action knows when it is legal, and writes its steps and relations."""

from dataclasses import dataclass
from typing import Callable

from shardcts_fuzz.forms import FORMS, is_whole, model_forms, optimizer_forms
from shardcts_fuzz.given import load_given, may_be_given
from shardcts_fuzz.loads import load, refuse, save
from shardcts_fuzz.model_state import ModelState
from shardcts_fuzz.programs import Relation
from shardcts_fuzz.wrappers import choose_wrapping


@dataclass(frozen=True)
class Kind:
    weight: int
    possible: Callable
    make: Callable


def _forms(program):
    options = "options" in program.features
    forms = model_forms(options)
    if program.main.optimizer:
        forms += optimizer_forms(options)
    return forms


def _form(program, action):
    """One of the forms, those that were rarely tried with the action and the model as it is rather than others."""
    forms = {form.name: 1 for form in _forms(program)}
    return FORMS[program.stream.weighted(program.prefer("form", forms, ("action", action)))]


def _get(program, maker):
    """A state dict twice: the second is the first; names and, where it is whole, values are the twin's."""
    model = program.main
    form = _form(program, "get")
    first, second = (maker.step(form.op, **form.arguments(model)) for _ in range(2))
    relations = [maker.equal("AL1", first, second, exact=True)]
    steps = [first, second]
    local = model.wrapping.is_fsdp and model.state_dict_type == "LOCAL" and form.name == "plain"
    if not form.optimizer and not local:
        twin = maker.step("model.state_dict", model="$" + maker.twin)
        steps.append(twin)
        if is_whole(form, model, program.world):
            relations.append(maker.equal("RS4", first, twin, first_rank_only=form.rank0))
        else:
            relations.append(Relation("NA1", "same_keys", (first.let, twin.let)))
        _gather(program, maker, form, first, twin, steps, relations)
    elif form.whole and "flatten_optimizer_state_dict" not in form.options and model.stepped and not model.was_frozen:
        twin = maker.step("optimizer.state_dict", optimizer="$o" + maker.twin)
        steps.append(twin)
        relations.append(Relation("OP1", "same_state", (first.let, twin.let), False, first_rank_only=form.rank0))
    maker.add("get", steps, relations, rule="SM5", tags=[("form", form.name), *_type_tag(model, form)])


def _type_tag(model, form):
    return [("type", model.state_dict_type)] if model.wrapping.is_fsdp and form.name == "plain" else []


def _gather(program, maker, form, got, twin, steps, relations):
    """Sharded entries, put together, are the twin's."""
    model = program.main
    if is_whole(form, model, program.world):
        return
    if model.wrapping.is_fsdp and (form.name != "plain" or model.state_dict_type == "SHARDED") and program.world > 1:
        gathered = maker.step("sharded.gather", value="$" + got.let)
    elif model.wrapping.shards_tensors and model.wrapping.family != "tp" and program.tree.only_parameters:
        gathered = maker.step("tensor.full", value="$" + got.let)
    else:
        return
    steps.append(gathered)
    relations.append(maker.equal("GE4", gathered, twin))


def _forward(program, maker):
    model = program.main
    steps = maker.pair("model.forward", model, inputs=[maker.input()])
    program.exact = False
    maker.add("forward", steps, [maker.equal("TR2", steps[0], steps[1])], rule="SM5")
    model.output, model.unsharded = (steps[0].let, steps[1].let), True


def _backward(program, maker):
    model = program.main
    steps = [maker.step("model.backward", model="$" + name, output="$" + output)
             for name, output in zip((model.name, maker.twin), model.output)]  # fmt: skip
    maker.add("backward", steps, rule="SM4")
    model.output, model.unsharded, model.gradients = "", False, True


def _step(program, maker):
    model = program.main
    steps = [maker.step("optimizer.step", optimizer="$o" + name) for name in (model.name, maker.twin)]
    maker.add("step", steps, rule="OP16")
    model.stepped = True
    program.exact = False


def _zero_grad(program, maker):
    maker.add("zero_grad", maker.pair("model.zero_grad", program.main))
    program.main.gradients = False


def _fill(program, maker):
    maker.add("fill", maker.pair("model.fill", program.main, value=program.stream.choice([0.5, 2.0, -1.25])))


def _fill_seen(program, maker):
    """What shares storage with the model by the contract shows a later change of it."""
    model = program.main
    form = program.stream.choice([FORMS["plain"], FORMS["dsd"]])
    before, after = (maker.step(form.op, **form.arguments(model)) for _ in range(2))
    fill = maker.pair("model.fill", model, value=program.stream.choice([0.25, -3.0]))
    seen = maker.step("tensor.clone", value="$" + before.let)
    maker.add("fill seen", [before, *fill, after, seen], [maker.equal("AL4", seen, after, exact=True)], tags=[("form", form.name)])


def _set_type(program, maker):
    model = program.main
    kind = program.stream.choice(["FULL", "SHARDED", "LOCAL"])
    model.state_dict_type = kind
    maker.add("set type", [maker.step("fsdp.set_state_dict_type", model="$" + model.name, type=kind)],
              tags=[("type", kind)])  # fmt: skip


def _freeze(program, maker):
    model = program.main
    names = program.parameter_names()
    frozen = frozenset(program.stream.subset(names, 0.4)[: len(names) - 1])
    values = {name: name not in frozen for name in names}
    model.frozen, model.was_frozen = frozen, model.was_frozen or bool(frozen)
    maker.add("freeze", maker.pair("model.set_requires_grad", model, values=values))


def _read(program, maker):
    """What the model has besides its state dict is the twin's."""
    model = program.main
    if model.wrapping.is_fsdp and not program.stream.chance(0.3):
        scope = maker.step("fsdp.summon_full_params", model="$" + model.name)
        inside, twin = maker.pair("model.parameters", model)
        end = maker.step("scope.exit", scope="$" + scope.let)
        relations = [maker.equal("GE4", inside, twin)] if model.wrapping.use_orig_params else []
        maker.add("summon", [scope, inside, twin, end], relations)
        return
    got, twin = maker.pair("model.buffers", model)
    gradients = maker.step("model.gradients", model="$" + model.name)
    maker.add("read", [got, twin, gradients], [maker.equal("TB6", got, twin)])


def _second(program, maker):
    """Another wrapper of the same tree takes what the model gives."""
    families = {"plain", "ddp", "replicate", "fully_shard", "fsdp"} & (program.features | {"plain"})
    other = ModelState(maker.let("m"), program.tree,
                       choose_wrapping(program.stream, program.tree, program.world, program.features, program.prefer,
                                        families))  # fmt: skip
    whole, twin = maker.whole(program.main)
    maker.build(other)
    broadcast = program.world > 1 and program.stream.chance(0.3)
    options = {"full_state_dict": True, **({"broadcast_from_rank0": True} if broadcast else {})}
    given = maker.step("tensor.clone", value="$" + whole.let)
    put = maker.step("dsd.set_model_state_dict", model="$" + other.name, state_dict="$" + given.let, options=options)
    again = maker.step("dsd.get_model_state_dict", model="$" + other.name, options={"full_state_dict": True})
    maker.add("load elsewhere", [whole, twin, given, put, again],
              [maker.equal("RS1", again, whole, exact=True), maker.equal("RS4", whole, twin)], rule="RS1",
              model=other, tags=[("form", "dsd full"), ("broadcast", broadcast)])  # fmt: skip


def _may_train(program):
    return program.trains


ACTIONS = {
    "get": Kind(6, lambda p: bool(_forms(p)), _get),
    "save": Kind(4, lambda p: bool(_forms(p)), lambda p, m: save(p, m, _form(p, "save"))),
    "load": Kind(6, lambda p: bool(p.loadable()), lambda p, m: load(p, m, p.stream.choice(p.loadable()))),
    "forward": Kind(4, lambda p: _may_train(p) and not p.main.output and p.may_forward(), _forward),
    "backward": Kind(12, lambda p: bool(p.main.output), _backward),
    "step": Kind(5, lambda p: bool(p.main.optimizer and p.main.gradients and not p.main.output), _step),
    "zero_grad": Kind(1, lambda p: p.main.gradients, _zero_grad),
    "fill": Kind(1, lambda p: "filling" in p.features and not p.main.unsharded and not p.main.output, _fill),
    "fill seen": Kind(1, lambda p: "filling" in p.features and p.main.wrapping.shards_tensors and not p.main.unsharded
                      and not p.main.output, _fill_seen),
    "set type": Kind(3, lambda p: "types" in p.features and p.main.wrapping.is_fsdp, _set_type),
    "freeze": Kind(1, lambda p: p.may_freeze(), _freeze),
    "read": Kind(2, lambda p: "reading" in p.features, _read),
    "load elsewhere": Kind(2, lambda p: "second_model" in p.features, _second),
    "load given": Kind(4, may_be_given, load_given),
    "refuse": Kind(2, lambda p: p.may_refuse(), refuse),
}
