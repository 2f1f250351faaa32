"""A corpus: scripts with what must hold of their results, so that `fuzz` judges them as it judges programs it makes.

An ordinary script, in which `fuzz` has the actions: name, results of its steps, rule, relations, tags; and, where the
generator made it, what that drew, from which new programs descend (sequence.py).
"""

import json
import os
from dataclasses import replace

from shardcts_fuzz.programs import CONTRACT, Action, Program, Relation, Step, given_by, used_by
from shardcts_fuzz.swarm import FEATURES

KINDS = {"equal": 2, "alike": 2, "same_keys": 2, "same_state": 2, "refused": 1, "given": 2, "layout": 2, "assembled": 2, "rounded": 1,
         "dtype": 1, "trained": 2}  # of relations, with how many results
LARGEST_WORLD = 8
MOST_PHASES = 8
LARGEST_FILE = 1 << 20


class CorpusError(Exception):
    """The folder or a file in it is wrong: one line for people."""


def record(program):
    """What `fuzz` in its script says of a program."""
    actions = [{"name": action.name, "steps": [step.let for step in action.steps], "rule": action.rule,
                "relations": [_relation_record(relation) for relation in action.relations],
                "tags": [list(tag) for tag in action.tags]} for action in program.actions]  # fmt: skip
    return {"actions": actions, **({"drawn": program.notes} if program.notes else {})}


def text(program):
    """Its script as a file of a corpus: a line for each step and action."""
    script = program.script()
    fuzz = {**script.pop("fuzz"), **record(program)}
    actions = _lines(fuzz.pop("actions"))
    if "phases" in script:
        phases = [f'{{"world": {phase["world"]}, "steps": [\n  {_lines(phase["steps"])}]}}' for phase in script.pop("phases")]
        steps = f'"phases": [{", ".join(phases)}]'
    else:
        steps = f'"steps": [\n  {_lines(script.pop("steps"))}]'
    heads = [json.dumps(part)[1:-1] for part in (script, fuzz)]
    return f'{{{heads[0]}, {steps},\n "fuzz": {{{heads[1]}, "actions": [\n  {actions}]}}}}\n'


def _lines(entries):
    return ",\n  ".join(json.dumps(one) for one in entries)


def _relation_record(relation):
    return {"rule": relation.rule, "kind": relation.kind, "steps": list(relation.steps), "exact": relation.exact,
            "first_rank_only": relation.first_rank_only, **({"detail": relation.detail} if relation.detail else {}),
            **({"names": list(relation.names)} if relation.names else {})}  # fmt: skip


def read_corpus(folder):
    """Its programs by the order of their files' names."""
    if not os.path.isdir(folder):
        raise CorpusError(f"{folder}: is no folder")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    if not names:
        raise CorpusError(f"{folder}: has no scripts")
    return [read_program(os.path.join(folder, name), number) for number, name in enumerate(names)]


def read_program(path, number):
    try:
        if os.path.getsize(path) > LARGEST_FILE:
            raise ValueError(f"is larger than {LARGEST_FILE} bytes")
        with open(path, encoding="utf-8") as file:
            return replace(_program(json.load(file), number), file=path)
    except KeyError as error:
        raise CorpusError(f"{path}: has no {error}") from None
    except (OSError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CorpusError(f"{path}: {error}") from None


def _program(script, number):
    if script["contract"] != CONTRACT:
        raise ValueError(f"contract: {script['contract']!r} is not {CONTRACT}")
    phases = _phases(script)
    steps = {step["let"]: (phase, _step(step, world)) for phase, (world, of_phase) in enumerate(phases) for step in of_phase}
    actions = tuple(_action(entry, steps) for entry in script["fuzz"]["actions"])
    listed = [step.let for action in actions for step in action.steps]
    if listed != [step["let"] for _, of_phase in phases for step in of_phase]:
        raise ValueError("fuzz.actions: do not list the results of all steps in their order")
    (world, _), *later = phases
    program = Program(0, number, world, actions, _drawn(script["fuzz"].get("drawn")), later=tuple(world for world, _ in later))
    _check_order(program)
    return program


def _phases(script):
    """(ranks, steps) of each."""
    if "phases" not in script:
        return [(_world(script["world_size"], "world_size"), script["steps"])]
    phases = [(_world(phase["world"], f"phases[{index}].world"), phase["steps"]) for index, phase in enumerate(script["phases"])]
    if not 1 <= len(phases) <= MOST_PHASES:
        raise ValueError(f"phases: {len(phases)} of them, not 1 to {MOST_PHASES}")
    return phases


def _world(world, place):
    if type(world) is not int or not 1 <= world <= LARGEST_WORLD:
        raise ValueError(f"{place}: {world!r} is no number of ranks from 1 to {LARGEST_WORLD}")
    return world


def _step(step, world):
    if "args_by_rank" not in step:
        return Step(step["let"], step["op"], _dict(step["args"]))
    by_rank = step["args_by_rank"]
    if len(by_rank) != world:
        raise ValueError(f"{step['let']}: args_by_rank has {len(by_rank)} entries, not {world}")
    return Step(step["let"], step["op"], _dict(by_rank[0]), _dict(by_rank[-1]))


def _dict(value):
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:40]!r} is no dict of arguments")
    return value


def _action(entry, steps):
    relations = []
    for relation in entry["relations"]:
        if KINDS.get(relation["kind"]) != len(relation["steps"]) or not set(relation["steps"]) <= set(steps):
            raise ValueError(f"{entry['name']}: a relation of an unknown kind or step: {relation}")
        relations.append(Relation(relation["rule"], relation["kind"], tuple(relation["steps"]), bool(relation["exact"]),
                                  first_rank_only=bool(relation["first_rank_only"]), detail=str(relation.get("detail", "")),
                                  names=tuple(str(name) for name in relation.get("names", ()))))  # fmt: skip
    tags = tuple((str(key), value) for key, value in entry["tags"])
    phases = {steps[let][0] for let in entry["steps"]}
    if len(phases) != 1:
        raise ValueError(f"{entry['name']}: has steps of {len(phases)} phases")
    return Action(str(entry["name"]), tuple(steps[let][1] for let in entry["steps"]), tuple(relations), str(entry["rule"]), tags, phases.pop())


def _drawn(entry):
    if entry is None:
        return {}
    features, draws, marks = list(entry["features"]), list(entry["draws"]), list(entry["marks"])
    if not set(features) <= set(FEATURES) or not all(type(one) is int and one >= 0 for one in [*draws, *marks]) or not draws or not marks:
        raise ValueError("fuzz.drawn: needs known features, and draws and marks of which none is negative")
    return {"features": features, "draws": draws, "marks": marks}


def _check_order(program):
    known = set()
    for step in program.steps():
        unknown = sorted(used_by(step) - known)
        if unknown:
            raise ValueError(f"{step.let}: uses {unknown[0]}, which no earlier step gives")
        known |= given_by(step)
