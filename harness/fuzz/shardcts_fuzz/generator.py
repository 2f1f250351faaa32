"""Makes programs: a model of what is legal, and one random action after another."""

from shardcts_fuzz import GENERATOR_VERSION, swarm
from shardcts_fuzz.actions import ACTIONS
from shardcts_fuzz.checkpoints import may_reshard, reshard
from shardcts_fuzz.draws import Draws
from shardcts_fuzz.known import Avoided
from shardcts_fuzz.maker import Maker
from shardcts_fuzz.model_state import ModelState
from shardcts_fuzz.optimizers import choose_optimizer
from shardcts_fuzz.programs import Program
from shardcts_fuzz.streams import Stream
from shardcts_fuzz.trees import TreeMaker
from shardcts_fuzz.wrappers import choose_wrapping

TRIES = 4  # for an action that no known deviation touches


class Generator:
    """`features`: others than those of the program's batch. `covered`: the Coverage of earlier programs, by which it is
    steered. `draws`: choices that are repeated before new ones are made."""

    def __init__(self, seed, number, worlds, known=None, features=None, covered=None, draws=()):
        batch = Stream(GENERATOR_VERSION, seed, "batch", number // swarm.PROGRAMS_IN_A_BATCH)
        self.stream = Draws(Stream(GENERATOR_VERSION, seed, "program", number), draws)
        self.features = swarm.features_of(batch) if features is None else set(features)
        self.marks = []  # where in the draws actions begin
        self._covered = covered
        self._worlds = list(worlds)
        self.worlds = [self.draw_world()]  # of each phase
        self.seed, self.number = seed, number
        self.known = known
        self.avoids = self.stream.chance(0.5)  # what is known to deviate
        self.saved = []
        self.refused = False  # some load, at some time
        self.other_extra_state = False  # than the tree was built with
        self.exact = True  # no arithmetic has happened yet

    def make(self):
        stream = self.stream
        self.tree = TreeMaker(stream, self.world, self.features).make()
        self.main = None
        self.main = ModelState("m", self.tree, choose_wrapping(stream, self.tree, self.world, self.features, self.prefer))
        self.trains = "training" in self.features and self.main.wrapping.computes and self.tree.trains
        self.main.frozen, self.main.was_frozen = frozenset(self.tree.frozen), bool(self.tree.frozen)
        maker = Maker(self)
        maker.build(self.main)
        wrapping = self.main.wrapping
        if "optimizer" in self.features and not wrapping.precision:  # what is rounded does not train as the twin does
            flat = wrapping.is_fsdp and not wrapping.use_orig_params  # then the names are others
            features = self.features - {"groups"} if flat else self.features
            self.main.optimizer = choose_optimizer(stream, self.parameter_names(), features, self.tree.dtype, self.prefer)
            maker.create_optimizer(self.main)
        maker.avoiding = self.avoids
        for _ in range(3 + stream.below(14)):
            self.marks.append(len(stream.drawn))
            self._act(maker)
        maker.avoiding = False
        maker.finish()
        if may_reshard(self):
            reshard(self, maker)
        notes = {"features": sorted(self.features), "draws": stream.drawn, "marks": self.marks}
        return Program(self.seed, self.number, self.worlds[0], tuple(maker.actions), notes, later=tuple(self.worlds[1:]))

    @property
    def world(self):
        """Of the phase that is being made."""
        return self.worlds[-1]

    def draw_world(self):
        return self.stream.weighted({world: 1 if world == 1 else 3 for world in self._worlds})  # on one rank little can be wrong

    def _act(self, maker):
        for _ in range(TRIES):
            weights = {name: kind.weight for name, kind in ACTIONS.items() if kind.possible(self)}
            try:
                before = maker.actions[-1].name
                name = self.stream.weighted(self.prefer("action", weights, ("after", before)))
                ACTIONS[name].make(self, maker)
                return
            except Avoided:
                continue

    def prefer(self, dimension, weights, *more):
        """The weights, larger where the value was rarely tried with what the model is now."""
        if self._covered is None:
            return weights
        present = [("layout", layout) for layout in sorted(self.tree.layouts(self.world))] + [("dtype", self.tree.dtype), *more]
        if self.main:
            present += [("wrapper", self.main.wrapping.name()), ("state", self.main.state_class())]
            present += [("type", self.main.state_dict_type)] if self.main.wrapping.is_fsdp else []
        return self._covered.prefer(dimension, weights, present)

    # What is legal now.

    def parameter_names(self):
        """As model.parameters gives them: a tied one once."""
        second = {names[1] for names in self.tree.ties}
        return [name for name in self.tree.shapes if name not in second]

    def optimized_names(self):
        """By the twin's ids, which count over all groups."""
        groups = self.main.optimizer.get("groups", [{"parameters": self.parameter_names()}])
        return tuple(name for group in groups for name in group["parameters"])

    def loadable(self):
        """Between forward and backward none: autograd forbids to change the unwrapped model there."""
        return [] if self.main.output else [saved for saved in self.saved if saved.fits(self.main, self.trains)]

    def refusable(self):
        """Saved state dicts of a model of whose entries the generator knows all names."""
        kept = [saved for saved in self.loadable() if not saved.form.optimizer and not saved.form.rank0]
        return [saved for saved in kept if saved.state_dict_type != "LOCAL" or saved.form.name != "plain"]

    def may_refuse(self):
        return "illegal" in self.features and self.tree.only_parameters and not self.tree.ties and bool(self.refusable())

    def may_forward(self):
        """Of what a forward leaves unsharded the next one need not be tried."""
        return not self.main.unsharded or "evaluation" in self.features

    def has_gathered(self):
        """Parameters that may be the gathered ones at this moment, which have other gradients and flags than the shards."""
        main = self.main
        return bool(main.output or main.unsharded) and (main.wrapping.is_fsdp or main.wrapping.shards_tensors)

    def may_freeze(self):
        wrapping = self.main.wrapping
        views = wrapping.is_fsdp and wrapping.use_orig_params and not self.main.gradients
        return "freezing" in self.features and (wrapping.family in ("plain", "fully_shard", "hsdp") or views) and not self.main.output and not self.has_gathered()


def make_program(seed, number, worlds, known=None, features=None):
    return Generator(seed, number, worlds, known, features).make()
