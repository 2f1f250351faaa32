"""Programs: lists of actions. An action has steps of a script and the relations that must hold between their results."""

import os
import re
from dataclasses import dataclass, field, replace

from shardcts_fuzz import GENERATOR_VERSION

CONTRACT = 1  # the version that scripts are written in
SAVES = {"storage.save", "storage.save_async"}


@dataclass(frozen=True)
class Step:
    let: str
    op: str
    args: dict
    last_rank_args: dict = None  # where they are others there


@dataclass(frozen=True)
class Relation:
    """What must hold. `rule`: its id in docs/rules.md. `steps`: the names of the results that it is about."""

    rule: str
    kind: str  # one of corpus.KINDS
    steps: tuple
    exact: bool = True  # bit for bit; else as close as the arithmetic is
    first_rank_only: bool = False  # of each group of ranks that holds the model
    names: tuple = ()  # of "same_state": of the parameters by the twin's ids
    detail: str = ""  # of "rounded" and "dtype": the dtype; of first_rank_only: the group's size, where it is not the world


@dataclass(frozen=True)
class Action:
    """Is kept or left out as a whole."""

    name: str
    steps: tuple
    relations: tuple = ()
    rule: str = "SM6"  # broken where a step fails that must not
    tags: tuple = ()  # what coverage counts: (dimension, value)
    phase: int = 0


@dataclass(frozen=True)
class Program:
    seed: int
    number: int
    world: int  # ranks of the first phase
    actions: tuple
    notes: dict = field(default_factory=dict)  # what the generator drew, before anything was left out: {features, draws, marks}
    file: str = ""  # of a corpus
    later: tuple = ()  # ranks of each later phase

    def place(self):
        return self.file or f"program {self.number} of seed {self.seed}"

    def steps(self):
        return [step for action in self.actions for step in action.steps]

    def without(self, indices):
        """Leaves actions out, and with them every one that uses a result of theirs."""
        gone, kept = set(), []
        for index, action in enumerate(self.actions):
            given = set().union(*(given_by(step) for step in action.steps))
            if index in indices or any(used_by(step) & gone for step in action.steps):
                gone |= given
            else:
                gone -= given
                kept.append(_without_relations(action, gone))
        return replace(self, actions=tuple(kept))

    def phases(self):
        """(ranks, steps) of each; later ones without steps are left out."""
        steps = [[step for action in self.actions if action.phase == phase for step in action.steps] for phase in range(1 + len(self.later))]
        while len(steps) > 1 and not steps[-1]:
            steps.pop()
        return list(zip((self.world, *self.later), steps))

    def has_folder(self):
        return len(self.phases()) > 1 or any(folder_of(step) for step in self.steps())

    def script(self):
        place = {"corpus": os.path.basename(self.file)} if self.file else {"seed": self.seed, "program": self.number}
        made_by = {**place, "generator": GENERATOR_VERSION}
        phases = [(world, [{"let": step.let, "op": step.op, **self._arguments(step)} for step in steps]) for world, steps in self.phases()]
        if self.has_folder():
            return {"contract": CONTRACT, "seed": 7, "fuzz": made_by, "phases": [{"world": world, "steps": steps} for world, steps in phases]}
        return {"contract": CONTRACT, "world_size": self.world, "seed": 7, "fuzz": made_by, "steps": phases[0][1]}

    def _arguments(self, step):
        if step.last_rank_args is None:
            return {"args": step.args}
        return {"args_by_rank": [step.args] * (self.world - 1) + [step.last_rank_args]}


def _without_relations(action, gone):
    relations = tuple(r for r in action.relations if not gone & set(r.steps))
    return action if len(relations) == len(action.relations) else replace(action, relations=relations)


def folder_of(step):
    """What stands for the checkpoint's folder in the sets of names below."""
    return f"folder {step.args['path']}" if step.op.startswith("storage.") and "path" in step.args else ""


def given_by(step):
    """Names that later steps may use: of the result, of the checkpoint."""
    return {step.let} | ({folder_of(step)} if step.op in SAVES else set())


def used_by(step):
    folder = set() if step.op in SAVES else {folder_of(step)} - {""}
    return names_in(step.args) | folder


def names_in(value):
    """The names of earlier results that arguments refer to."""
    if isinstance(value, str):
        found = re.match(r"\$(?![${])([^.]+)", value)  # "$$" is a dollar sign, "${folder}" a folder
        return {found.group(1)} if found else set()
    if isinstance(value, dict):
        return set().union(*(names_in(item) for item in value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*(names_in(item) for item in value)) if value else set()
    return set()
