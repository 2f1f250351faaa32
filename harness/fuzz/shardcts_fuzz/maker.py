"""Writes actions: names of results, steps on the model and on its unsharded twin, tags for coverage."""

import base64
import struct
from dataclasses import replace

from shardcts_fuzz.known import Avoided
from shardcts_fuzz.programs import Action, Relation, Step


WITH_DECAY = ("adamw", "asgd")  # by default, or by another name


def tensor(shape, values):
    data = struct.pack(f"<{len(values)}f", *values)
    return {"$tensor": {"shape": shape, "dtype": "float32", "data": base64.b64encode(data).decode()}}


class Maker:
    """`self.twin`: the same tree without wrappers, which every change of the model also reaches."""

    def __init__(self, program):
        self.program = program  # the Generator
        self.actions = []
        self.twin = "t"
        self.avoiding = False  # what is known to deviate
        self._count = 0

    def let(self, prefix="s"):
        self._count += 1
        return f"{prefix}{self._count}"

    def step(self, op, let="", **args):
        return Step(let or self.let(), op, {name: value for name, value in args.items() if value is not None})

    def pair(self, op, model, **args):
        """The same on the model and on its twin."""
        return [self.step(op, model="$" + name, **args) for name in (model.name, self.twin)]

    def add(self, name, steps, relations=(), rule="SM6", model=None, tags=()):
        state = model or self.program.main
        other = [] if state is self.program.main else [("wrapper", self.program.main.wrapping.name())]
        every = [("action", name), *other, ("wrapper", state.wrapping.name()), ("state", state.state_class()), *tags]
        every += [("world", self.program.world), *self._traits(state)]
        if state is not self.program.main:
            every += self._traits(self.program.main)
        every += [("layout", layout) for layout in sorted(state.tree.layouts(self.program.world))]
        known = self.program.known
        if known and self.avoiding and known.touches(every):
            raise Avoided
        self.actions.append(Action(name, tuple(steps), tuple(relations), rule, tuple(every), len(self.program.worlds) - 1))

    def _traits(self, state):
        tree = state.tree
        traits = {"frozen": state.frozen, "ties": tree.ties, "batch norm": tree.has_batch_norm, "compile": "compile" in
                  {wrap.wrapper for wrap in state.wrapping.wraps}, "extra state": tree.has_extra_state, "buffers": tree.has_buffers or tree.has_batch_norm,
                  "failed load": state.failed_load, "made state": state.made_state, "two backwards": state.twice,
                  "no elements": any(0 in shape for shape in tree.shapes.values())}  # fmt: skip
        tags = [("has", name) for name, there in traits.items() if there] + [("dtype", tree.dtype)]
        if state.optimizer:
            options = [state.optimizer["options"], *(group["options"] for group in state.optimizer.get("groups", []))]
            tags.append(("decay", any("weight_decay" in one for one in options) or state.optimizer["kind"] in WITH_DECAY))
        return tags

    def equal(self, rule, first, second, exact=None, kind="equal", **more):
        """Also of one result and another's name. Buffers that are computed with in another dtype are rounded."""
        exact = self.program.exact if exact is None else exact
        lets = tuple(one if isinstance(one, str) else one.let for one in (first, second))
        rounded = self.program.main.wrapping.rounds_buffers and rule != "AL1"
        return Relation(rule, "alike" if rounded else kind, lets, exact, **more)

    def first_ranks(self, form):
        """Where a form is on the first rank of each group only."""
        parts = self.program.main.wrapping.parts
        return {"first_rank_only": form.rank0, "detail": str(self.program.world // parts) if form.rank0 and parts > 1 else ""}

    # What every program begins with.

    def build(self, model):
        wrapping, tree = model.wrapping, model.tree
        device = "meta" if model.is_meta else None
        self.add("build", [self.step("model.build", model.name, model="tree", args=tree.description, device=device)], model=model)
        if model is self.program.main:
            self.add("build twin", [self.step("model.build", self.twin, model="tree", args=tree.description)])
            if wrapping.unites:
                fills = self.pair("model.fill", model, value=1.5, buffers=True)
                fills[0] = replace(fills[0], last_rank_args={**fills[0].args, "value": 0.5})
                self.add("differ", fills, model=model)
        self._mesh(model)
        for wrap in wrapping.wraps:
            mesh = self._mesh_name(model)
            options = {name: value.replace("$mesh", "$" + mesh) if isinstance(value, str) else value for name, value in wrap.options.items()}
            step = self.step("model.wrap", model="$" + model.name, path=wrap.path, wrapper=wrap.wrapper, options=options or None)
            self.add("wrap", [step], rule="SM6", model=model)

    def _mesh_name(self, model):
        return "mesh" if model is self.program.main else f"mesh_of_{model.name}"

    def _mesh(self, model):
        """And what stands on its last dimension."""
        wrapping = model.wrapping
        if not wrapping.mesh:
            return
        mesh = self._mesh_name(model)
        last = {"tp": "tp", "fully_shard+tp": "tp"}.get(wrapping.family, "shards")
        names = [{"fully_shard+tp": "shards"}.get(wrapping.family, "replicas"), last][-len(wrapping.mesh) :]
        self.add("mesh", [self.step("mesh.init", mesh, shape=list(wrapping.mesh), dim_names=names)], model=model)
        parts = names if wrapping.family == "fully_shard+tp" else ["shards"] if wrapping.parts > 1 else []
        for name in parts:
            self.add("submesh", [self.step("mesh.submesh", f"{mesh}_{name}", mesh="$" + mesh, dim_names=[name])], model=model)
        if wrapping.plan:
            over = "$" + mesh + ("" if len(names) == 1 else "_tp")
            step = self.step("model.parallelize", model="$" + model.name, mesh=over, plan=wrapping.plan)
            self.add("parallelize", [step], model=model)

    def create_optimizer(self, model):
        steps = [self.step("optimizer.create", "o" + name, model="$" + name, **model.optimizer)
                 for name in (model.name, self.twin)]  # fmt: skip
        self.add("create optimizer", steps, rule="OP16", tags=[("optimizer", model.optimizer["kind"])])

    def optimizer_like(self, model, like):
        """The step that makes one of the same kind and groups, with another learning rate."""
        groups = [{**group, "options": {"lr": 0.75}} for group in like.get("groups", [])]
        return self.step("optimizer.create", "o" + model.name, model="$" + model.name, kind=like["kind"],
                         options={**like["options"], "lr": 0.75}, groups=groups or None)  # fmt: skip

    def input(self):
        width, rows = self.program.tree.width, 2
        return tensor([rows, width], [((i * 5) % 7 - 3) / 4 for i in range(rows * width)])

    def whole(self, model):
        """The whole state dict through the distributed functions, and the twin's own."""
        got = self.step("dsd.get_model_state_dict", model="$" + model.name, options={"full_state_dict": True})
        return got, self.step("model.state_dict", model="$" + self.twin)

    def finish(self):
        """At the end the model must still be its twin, and what it was given is as it was."""
        kept = [saved for saved in self.program.saved if saved.used][-2:]
        if kept:
            again = [self.step("tensor.clone", value="$" + saved.let) for saved in kept]
            relations = [Relation("AL8", "equal", (step.let, saved.let)) for step, saved in zip(again, kept)]
            self.add("keep", again, relations, tags=[("form", saved.form.name) for saved in kept])
        got, twin = self.whole(self.program.main)
        self.add("compare with twin", [got, twin], [self.equal("RS4", got, twin)], tags=[("form", "dsd full")])
