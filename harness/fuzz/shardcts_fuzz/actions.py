"""What a program may do next. Each kind of action knows when it is legal, and writes its steps and relations."""

from dataclasses import dataclass
from typing import Callable

from shardcts_fuzz.checkpoints import checkpoint, may_checkpoint
from shardcts_fuzz.forms import FORMS, is_whole, model_forms, optimizer_forms
from shardcts_fuzz.entries import assign, edit_and_load, may_assign, may_edit, may_own, own, serialize
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


def _get(program, maker, form=None):
    """A state dict twice: the second is the first; names and, where it is whole, values are the twin's."""
    model = program.main
    form = form or _form(program, "get")
    first, second = (maker.step(form.op, **form.arguments(model)) for _ in range(2))
    relations = [maker.equal("AL1", first, second, exact=True)]
    steps, first_ranks = [first, second], maker.first_ranks(form)
    local = model.wrapping.is_fsdp and model.state_dict_type == "LOCAL" and form.name == "plain"
    if not form.optimizer and not local:
        twin = maker.step("model.state_dict", model="$" + maker.twin)
        steps.append(twin)
        if is_whole(form, model, program.world):
            relations.append(maker.equal("RS4", first, twin, **first_ranks))
        else:
            relations += [Relation("NA1", "same_keys", (first.let, twin.let)), Relation("GE1", "layout", (first.let, twin.let))]
            if model.wrapping.gives_dtensors:
                relations.append(maker.equal("RS4", first, twin, kind="assembled"))
        _gather(program, maker, form, first, twin, steps, relations)
    elif form.whole and "flatten_optimizer_state_dict" not in form.options and model.stepped and not model.was_frozen:
        twin = maker.step("optimizer.state_dict", optimizer="$o" + maker.twin)
        steps.append(twin)
        relations.append(Relation("OP1", "same_state", (first.let, twin.let), False, names=program.optimized_names(), **first_ranks))
    maker.add("get", steps, relations, rule="SM5", tags=[("form", form.name), *_type_tag(model, form)])
    model.made_state = model.made_state or form.optimizer and not model.stepped


def _type_tag(model, form):
    return [("type", model.state_dict_type)] if model.wrapping.is_fsdp and form.name == "plain" else []


def _gather(program, maker, form, got, twin, steps, relations):
    """Sharded entries, put together, are the twin's."""
    model = program.main
    if is_whole(form, model, program.world):
        return
    if model.wrapping.is_fsdp and not model.wrapping.mesh and (form.name != "plain" or model.state_dict_type == "SHARDED") and program.world > 1:
        gathered = maker.step("sharded.gather", value="$" + got.let)
    elif model.wrapping.gives_dtensors and model.wrapping.family != "tp" and program.tree.only_parameters:
        whole = form.name == "plain" and model.state_dict_type != "SHARDED" or not model.wrapping.cuts(program.world)
        if model.wrapping.is_fsdp and whole:
            return
        gathered = maker.step("tensor.full", value="$" + got.let)
    else:
        return
    steps.append(gathered)
    relations.append(maker.equal("GE4", gathered, twin))


def _forward(program, maker):
    model = program.main
    steps, relations = _forwards(program, maker)
    maker.add("forward", steps, relations, rule="SM5")
    model.output, model.unsharded = (steps[0].let, steps[1].let), True


def _forwards(program, maker):
    """Of the model and its twin. In another dtype only that is told."""
    model = program.main
    steps = maker.pair("model.forward", model, inputs=[maker.input()])
    program.exact = program.exact and not program.tree.has_batch_norm
    precision = model.wrapping.precision
    if precision is None:
        return steps, [maker.equal("TR2", *steps, exact=False)]
    return steps, [Relation("TR10", "dtype", (steps[0].let,), detail=precision.get("param_dtype", "float32"))]


def _evaluate(program, maker):
    """A forward that no backward follows."""
    steps, relations = _forwards(program, maker)
    maker.add("evaluate", steps, relations, rule="SM5")
    program.main.unsharded = True


def _backward(program, maker):
    model = program.main
    steps = [maker.step("model.backward", model="$" + name, output="$" + output)
             for name, output in zip((model.name, maker.twin), model.output)]  # fmt: skip
    maker.add("backward", steps, rule="SM4")
    model.output, model.unsharded, model.gradients = "", False, True
    model.backwards += 1
    if model.wrapping.precision or program.stream.chance(0.3):
        steps, relations = _gradients(program, maker)
        if relations:
            maker.add("read", steps, relations)


def _twice(program, maker):
    """Two forwards, and the backward of each, in either order."""
    model = program.main
    first, relations = _forwards(program, maker)
    second, more = _forwards(program, maker)
    backwards = [maker.step("model.backward", model="$" + name, output="$" + step.let)
                 for steps in program.stream.choice([(first, second), (second, first)])
                 for name, step in zip((model.name, maker.twin), steps)]  # fmt: skip
    model.twice = True
    maker.add("twice", [*first, *second, *backwards], relations + more, rule="TR14")
    model.unsharded, model.gradients = False, True
    model.backwards += 2


def _gradients(program, maker):
    """Those of the model and its twin; in another dtype, that they are rounded to it."""
    model = program.main
    steps, relations = maker.pair("model.gradients", model), []
    if not model.gradients or program.has_gathered():
        return steps, relations
    precision = model.wrapping.precision
    if precision is None and not model.was_frozen and not model.wrapping.is_fsdp:
        relations.append(maker.equal("TR2", *steps, exact=False, kind="assembled"))
    if precision and precision.get("reduce_dtype", precision.get("param_dtype")) == "bfloat16" and model.backwards == 1:
        relations.append(Relation("TR8", "rounded", (steps[0].let,), detail="bfloat16"))
    return steps, relations


def _step(program, maker):
    model = program.main
    steps = [maker.step("optimizer.step", optimizer="$o" + name) for name in (model.name, maker.twin)]
    maker.add("step", steps, rule="OP16")
    model.stepped = True
    program.exact = False


def _train(program, maker):
    """A whole step of a training."""
    _forward(program, maker)
    _backward(program, maker)
    if program.stream.chance(0.3):
        _read(program, maker)
    _step(program, maker)
    if program.stream.chance(0.5):
        _get(program, maker, FORMS["dsd optimizer full"])


def _zero_grad(program, maker):
    maker.add("zero_grad", maker.pair("model.zero_grad", program.main))
    program.main.gradients, program.main.backwards = False, 0


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


def _types(model):
    return ["FULL", "SHARDED"] if model.wrapping.mesh else ["FULL", "SHARDED", "LOCAL"]


def _type_scope(program, maker):
    """What a scope sets is as it was when the scope has ended, also by an exception."""
    model = program.main
    before, after = (maker.step("fsdp.get_state_dict_type", model="$" + model.name) for _ in range(2))
    kind = program.stream.choice(_types(model))
    scope = maker.step("fsdp.state_dict_type", model="$" + model.name, type=kind)
    got = maker.step("model.state_dict", model="$" + model.name)
    raised = program.stream.chance(0.5)
    end = maker.step("scope.exit", scope="$" + scope.let, raised=True if raised else None)
    maker.add("type scope", [before, scope, got, end, after], [maker.equal("AL1", after, before, exact=True)],
              tags=[("form", "plain"), ("type", kind), ("raised", raised)])  # fmt: skip


def _set_type(program, maker):
    _add_set_type(program, maker, program.stream.choice(_types(program.main)))


def _add_set_type(program, maker, kind):
    model = program.main
    maker.add("set type", [maker.step("fsdp.set_state_dict_type", model="$" + model.name, type=kind)],
              tags=[("type", kind)])  # fmt: skip
    model.state_dict_type = kind  # not before: a known deviation may keep the action out


def _other_type(program, maker):
    """Before what needs one; not LOCAL, whose entries have no names of parameters."""
    model = program.main
    if model.wrapping.is_fsdp and "types" in program.features and (program.tree.ties or program.stream.chance(0.3)):
        _add_set_type(program, maker, program.stream.choice(["FULL", "SHARDED"]))


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
        _summon(program, maker)
        return
    got, twin = maker.pair("model.buffers", model)
    gradients, relations = _gradients(program, maker)
    relations += [] if model.wrapping.rounds_buffers else [maker.equal("TB6", got, twin)]
    maker.add("read", [got, twin, *gradients], relations)


def _summon(program, maker):
    """The whole parameters are the twin's, and the gradients; one of these may be changed."""
    model = program.main
    with_gradients = model.wrapping.use_orig_params and model.gradients and not model.was_frozen
    scope = maker.step("fsdp.summon_full_params", model="$" + model.name, with_grads=True if with_gradients else None)
    inside, twin = maker.pair("model.parameters", model)
    steps = [scope, inside, twin]
    relations = [maker.equal("GE4", inside, twin)] if model.wrapping.use_orig_params else []
    if with_gradients:
        gradients, expected = maker.pair("model.gradients", model)
        steps += [gradients, expected]
        if model.wrapping.precision is None:
            relations.append(maker.equal("TR2", gradients, expected, exact=False))
        name = next((f"{path}.weight" for path in program.tree.linears if f"{path}.weight" not in dict(program.tree.ties).values()), "")
        if name and program.stream.chance(0.6):
            steps += [maker.step("tensor.fill", value=f"${one.let}.{name}", scalar=0.5) for one in (gradients, expected)]
    steps.append(maker.step("scope.exit", scope="$" + scope.let))
    maker.add("summon", steps, relations)
    if len(steps) > 6:  # then the gradients are others, in both; nothing tells of it but what follows
        model.backwards += 1
        scope = maker.step("fsdp.summon_full_params", model="$" + model.name, with_grads=True)
        again, expected = maker.pair("model.gradients", model)
        end = maker.step("scope.exit", scope="$" + scope.let)
        relations = [] if model.wrapping.precision else [maker.equal("AL1", again, expected, exact=False)]
        maker.add("summon", [scope, again, expected, end], relations)


def _second(program, maker):
    """Another wrapper of the same tree takes what the model gives."""
    stream, tree = program.stream, program.tree
    families = {"plain", "ddp", "replicate", "fully_shard", "fsdp"} & (program.features | {"plain"})
    features = program.features - {"fsdp_mesh", "groups_of_ranks", "mixed"}
    other = ModelState(maker.let("m"), tree, choose_wrapping(stream, tree, program.world, features, program.prefer, families))
    other.is_meta = "meta" in features and other.wrapping.family in ("plain", "fully_shard") and not tree.lost and stream.chance(0.4)
    whole, twin = maker.whole(program.main)
    maker.build(other)
    broadcast = program.world > 1 and stream.chance(0.3)
    options = {"full_state_dict": True, **({"broadcast_from_rank0": True} if broadcast else {})}
    given = maker.step("tensor.clone", value="$" + whole.let)
    put = maker.step("dsd.set_model_state_dict", model="$" + other.name, state_dict="$" + given.let, options=options)
    again = maker.step("dsd.get_model_state_dict", model="$" + other.name, options={"full_state_dict": True})
    maker.add("load elsewhere", [whole, twin, given, put, again],
              [maker.equal("RS1", again, whole, exact=True), maker.equal("RS4", whole, twin)], rule="RS1",
              model=other, tags=[("form", "dsd full"), ("broadcast", broadcast), ("meta", other.is_meta)])  # fmt: skip
    if program.main.optimizer and program.main.stepped and not program.main.was_frozen and stream.chance(0.7):
        _second_optimizer(program, maker, other)


def _second_optimizer(program, maker, other):
    """Its state and options as well, over those that the other one's optimizer has by itself."""
    model = program.main
    flat = other.wrapping.is_fsdp and not other.wrapping.use_orig_params
    if flat and "groups" in model.optimizer:
        return
    create = maker.optimizer_like(other, model.optimizer)
    form = FORMS["dsd optimizer full"]
    got = maker.step(form.op, **form.arguments(model))
    given = maker.step("tensor.clone", value="$" + got.let)
    put = maker.step("dsd.set_optimizer_state_dict", model="$" + other.name, optimizers=["$o" + other.name], state_dict="$" + given.let,
                     options={"full_state_dict": True})  # fmt: skip
    again = maker.step(form.op, **form.arguments(other))
    kept = maker.step("tensor.clone", value="$" + given.let)
    other.optimizer, other.stepped = model.optimizer, True
    maker.add("optimizer elsewhere", [create, got, given, put, again, kept],
              [Relation("RS2", "same_state", (again.let, got.let)), maker.equal("AL8", kept, given, exact=True)], rule="RS2", model=other,
              tags=[("form", form.name), ("optimizer", model.optimizer["kind"])])  # fmt: skip


def _may_train(program):
    return program.trains


ACTIONS = {
    "get": Kind(6, lambda p: bool(_forms(p)), _get),
    "save": Kind(4, lambda p: bool(_forms(p)), lambda p, m: save(p, m, _form(p, "save"))),
    "load": Kind(6, lambda p: bool(p.loadable()), lambda p, m: load(p, m, p.stream.choice(p.loadable()))),
    "forward": Kind(6, lambda p: _may_train(p) and not p.main.output and p.may_forward(), _forward),
    "evaluate": Kind(3, lambda p: _may_train(p) and not p.main.output and p.may_forward(), _evaluate),
    "backward": Kind(12, lambda p: bool(p.main.output), _backward),
    "step": Kind(8, lambda p: bool(p.main.optimizer and p.main.gradients and not p.main.output), _step),
    "train": Kind(5, lambda p: _may_train(p) and bool(p.main.optimizer) and not p.main.output and p.may_forward(), _train),
    "twice": Kind(2, lambda p: _may_train(p) and not p.main.output and p.may_forward(), _twice),
    "zero_grad": Kind(1, lambda p: p.main.gradients and not p.has_gathered(), _zero_grad),
    "fill": Kind(1, lambda p: "filling" in p.features and not p.main.unsharded and not p.main.output, _fill),
    "fill seen": Kind(1, lambda p: "filling" in p.features and p.main.wrapping.shards_tensors and not p.main.unsharded
                      and not p.main.output, _fill_seen),
    "set type": Kind(3, lambda p: "types" in p.features and p.main.wrapping.is_fsdp, _set_type),
    "type scope": Kind(2, lambda p: "types" in p.features and p.main.wrapping.is_fsdp, _type_scope),
    "assign": Kind(2, may_assign, assign),
    "edit": Kind(3, may_edit, lambda p, m: (_other_type(p, m), edit_and_load(p, m))),
    "own": Kind(2, may_own, lambda p, m: (_other_type(p, m), own(p, m))),
    "checkpoint": Kind(4, may_checkpoint, checkpoint),
    "serialize": Kind(1, lambda p: "bytes" in p.features, serialize),
    "freeze": Kind(3, lambda p: p.may_freeze(), _freeze),
    "read": Kind(4, lambda p: "reading" in p.features, _read),
    "load elsewhere": Kind(2, lambda p: "second_model" in p.features, _second),
    "load given": Kind(4, may_be_given, load_given),
    "refuse": Kind(4, lambda p: p.may_refuse(), refuse),
}
