"""Programs: lists of actions. An action has steps of a script and the relations that must hold between their results."""

import os
import re
from dataclasses import dataclass, field, replace

from shardcts_fuzz import GENERATOR_VERSION

CONTRACT = 1  # the version that scripts are written in


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


@dataclass(frozen=True)
class Program:
    seed: int
    number: int
    world: int
    actions: tuple
    notes: dict = field(default_factory=dict)  # what the generator drew, before anything was left out: {features, draws, marks}
    file: str = ""  # of a corpus

    def place(self):
        return self.file or f"program {self.number} of seed {self.seed}"

    def steps(self):
        return [step for action in self.actions for step in action.steps]

    def without(self, indices):
        """Leaves actions out, and with them every one that uses a result of theirs."""
        gone, kept = set(), []
        for index, action in enumerate(self.actions):
            if index in indices or any(names_in(step.args) & gone for step in action.steps):
                gone |= {step.let for step in action.steps}
            else:
                kept.append(_without_relations(action, gone))
        return replace(self, actions=tuple(kept))

    def script(self):
        steps = []
        for step in self.steps():
            steps.append({"let": step.let, "op": step.op, **self._arguments(step)})
        place = {"corpus": os.path.basename(self.file)} if self.file else {"seed": self.seed, "program": self.number}
        made_by = {**place, "generator": GENERATOR_VERSION}
        return {"contract": CONTRACT, "world_size": self.world, "seed": 7, "fuzz": made_by, "steps": steps}

    def _arguments(self, step):
        if step.last_rank_args is None:
            return {"args": step.args}
        return {"args_by_rank": [step.args] * (self.world - 1) + [step.last_rank_args]}


def _without_relations(action, gone):
    relations = tuple(r for r in action.relations if not gone & set(r.steps))
    return action if len(relations) == len(action.relations) else replace(action, relations=relations)


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
