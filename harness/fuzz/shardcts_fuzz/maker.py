"""Writes actions: names of results, steps on the model and on its unsharded twin, tags for coverage."""

import base64
import struct

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
        self.actions.append(Action(name, tuple(steps), tuple(relations), rule, tuple(every)))

    def _traits(self, state):
        tree = state.tree
        traits = {"frozen": state.frozen, "ties": tree.ties, "batch norm": tree.has_batch_norm, "compile": "compile" in
                  {wrap.wrapper for wrap in state.wrapping.wraps}, "extra state": tree.has_extra_state, "buffers": tree.has_buffers or tree.has_batch_norm,
                  "failed load": state.failed_load,
                  "no elements": any(0 in shape for shape in tree.shapes.values())}  # fmt: skip
        tags = [("has", name) for name, there in traits.items() if there] + [("dtype", tree.dtype)]
        if state.optimizer:
            options = [state.optimizer["options"], *(group["options"] for group in state.optimizer.get("groups", []))]
            tags.append(("decay", any("weight_decay" in one for one in options) or state.optimizer["kind"] in WITH_DECAY))
        return tags

    def equal(self, rule, first, second, exact=None, **more):
        exact = self.program.exact if exact is None else exact
        return Relation(rule, "equal", (first.let, second.let), exact, **more)

    # What every program begins with.

    def build(self, model):
        wrapping, tree = model.wrapping, model.tree
        self.add("build", [self.step("model.build", model.name, model="tree", args=tree.description)], model=model)
        if model is self.program.main:
            self.add("build twin", [self.step("model.build", self.twin, model="tree", args=tree.description)])
        self._mesh(model)
        for wrap in wrapping.wraps:
            step = self.step("model.wrap", model="$" + model.name, path=wrap.path, wrapper=wrap.wrapper,
                             options=wrap.options or None)  # fmt: skip
            self.add("wrap", [step], rule="SM6", model=model)

    def _mesh(self, model):
        """And what stands on its last dimension. Only the program's first model has a mesh of its own."""
        wrapping = model.wrapping
        if not wrapping.mesh:
            return
        names = {"hsdp": ["replicas", "shards"], "tp": ["tp"], "fully_shard+tp": ["shards", "tp"]}[wrapping.family]
        steps = [self.step("mesh.init", "mesh", shape=list(wrapping.mesh), dim_names=names)]
        if wrapping.family == "fully_shard+tp":
            steps += [self.step("mesh.submesh", f"mesh_{name}", mesh="$mesh", dim_names=[name]) for name in names]
        self.add("mesh", steps, model=model)
        if wrapping.plan:
            mesh = "$mesh" if len(names) == 1 else "$mesh_tp"
            step = self.step("model.parallelize", model="$" + model.name, mesh=mesh, plan=wrapping.plan)
            self.add("parallelize", [step], model=model)

    def create_optimizer(self, model):
        steps = [self.step("optimizer.create", "o" + name, model="$" + name, **model.optimizer)
                 for name in (model.name, self.twin)]  # fmt: skip
        self.add("create optimizer", steps, rule="OP16", tags=[("optimizer", model.optimizer["kind"])])

    def input(self):
        width, rows = self.program.tree.width, 2
        return tensor([rows, width], [((i * 5) % 7 - 3) / 4 for i in range(rows * width)])

    def whole(self, model):
        """The whole state dict through the distributed functions, and the twin's own."""
        got = self.step("dsd.get_model_state_dict", model="$" + model.name, options={"full_state_dict": True})
        return got, self.step("model.state_dict", model="$" + self.twin)

    def finish(self):
        """At the end the model must still be its twin."""
        got, twin = self.whole(self.program.main)
        self.add("compare with twin", [got, twin], [self.equal("RS4", got, twin)], tags=[("form", "dsd full")])
