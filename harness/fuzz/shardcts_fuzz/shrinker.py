"""Makes a program small and keeps what it shows: leaves actions out, then makes options, trees and worlds simpler.

All programs of a round, of all groups, run in one pool: a round tries every single change of a program, and the next
one tries those that succeeded together.
"""

import re
import time
from dataclasses import replace

from shardcts_fuzz.campaign import findings_of
from shardcts_fuzz.pools import RunError, remove
from shardcts_fuzz.simplify import simpler

STABLE_RUNS = 3
CANDIDATES = 40  # of a group in a round


class Shrinking:
    """Of one group."""

    def __init__(self, group):
        self.group = group
        self.signature = group.finding.signature()
        group.program = until(group.program, group.finding.let)
        self.good = []  # changes that kept the signature in the last round
        self.done = False
        self.tried = set()

    def candidates(self):
        """Programs that are smaller than the present one."""
        program = self.group.program
        found = []
        if len(self.good) > 1:
            found += [self._all(self.good), self._all(self.good[::2]), self._all(self.good[1::2])]
        self.good = []
        size = len(program.actions)
        chunk = size // 2
        while chunk > 1:
            found += [(("without", tuple(range(i, min(i + chunk, size)))),) for i in range(0, size, chunk)]
            chunk //= 2
        found += [(("without", (i,)),) for i in reversed(range(size))]
        found += [(("simpler", change),) for change in simpler(program)]
        programs = []
        for changes in found:
            candidate = apply(program, changes)
            key = repr(candidate and candidate.script())
            if candidate is None or not all(steps for _, steps in candidate.phases()) or key in self.tried:
                continue
            self.tried.add(key)
            programs.append((changes, candidate))
        return programs[:CANDIDATES]

    @staticmethod
    def _all(changes):
        without = tuple(sorted({i for change in changes for kind, what in change if kind == "without" for i in what}))
        rest = tuple(part for change in changes for part in change if part[0] != "without")
        return (*rest, *((("without", without),) if without else ()))

    def take(self, results):
        """`results`: of the candidates, the finding with the signature, or None. Where all steps succeeded they must go on
        to do so: the script would fail before it shows anything."""
        kept = [(changes, program, finding) for (changes, program), finding in results
                if finding and (finding.legal or not self.group.finding.legal)]
        if not kept:
            self.done = not results or len(results) < CANDIDATES
            return
        best = min(kept, key=lambda item: weight(item[1]))
        if weight(best[1]) < weight(self.group.program):
            self.group.program, self.group.finding = best[1], best[2]
        others = [changes for changes, program, _ in kept if program is not best[1]]
        self.good = rebase(others, best[0])


def until(program, let):
    """Without what comes after the action of a step: nothing there has a part in the finding."""
    for index, action in enumerate(program.actions):
        if any(step.let == let for step in action.steps):
            return replace(program, actions=program.actions[: index + 1])
    return program


def weight(program):
    text = repr([steps for _, steps in program.phases()])
    return (len(program.steps()), sum(world for world, _ in program.phases()), len(text), sum(map(int, re.findall(r"(?<=: )\d+(?=[,}])", text))))


def apply(program, changes):
    for kind, what in changes:
        program = program.without(set(what)) if kind == "without" else what(program)
        if program is None:
            return None
    return program


def rebase(changes, done):
    """Removals of actions, numbered as they are after `done`, where that left out whole actions only."""
    gone = {i for kind, what in done if kind == "without" for i in what}
    moved = []
    for change in changes:
        parts = []
        for kind, what in change:
            if kind == "without":
                what = tuple(i - sum(1 for j in gone if j < i) for i in what if i not in gone)
            if kind != "without" or what:
                parts.append((kind, what))
        if parts:
            moved.append(tuple(parts))
    return moved


def shrink(groups, find, seconds, say=lambda text: None):
    """Shrinks the programs of all groups at once, for so long. `find`: of a list of (signature, program) the findings
    with that signature, or None."""
    end = time.monotonic() + seconds
    work = [Shrinking(group) for group in groups]
    while time.monotonic() < end:
        batch = [(one, change, program) for one in work if not one.done for change, program in one.candidates()]
        found = find([(one.signature, program) for one, _, program in batch]) if batch else []
        for one in work:
            one.take([((change, program), finding) for (of, change, program), finding in zip(batch, found) if of is one])
        if not batch:
            break
        say(f"shrinking: {sum(not one.done for one in work)} of {len(work)} groups, {len(batch)} programs")
    for one in work:
        one.group.shrunk = True
    _confirm(groups, find)


def _confirm(groups, find):
    """What does not show in each of three runs is flaky."""
    found = find([(group.finding.signature(), group.program) for group in groups for _ in range(STABLE_RUNS)])
    for index, group in enumerate(groups):
        shown = sum(bool(one) for one in found[index * STABLE_RUNS : (index + 1) * STABLE_RUNS])
        group.stable = f"{shown} of {STABLE_RUNS} runs"


def find_in_pools(wanted, campaign):
    """Of each (signature, program) the finding with that signature, or None: the programs are run."""
    if not wanted:
        return []
    try:
        runs, folder = campaign.pools.run([program for _, program in wanted], campaign.implementations)
    except RunError as error:
        if error.code == 2:  # one of the programs is not even a script
            return [None] * len(wanted)
        raise
    found = []
    for (signature, program), of_program in zip(wanted, runs):
        if any(run.verdict in ("harness_error", "not_run", "not_supported") for run in of_program.values()):
            found.append(None)
            continue
        findings, _, _ = findings_of(program, of_program, None, campaign.rules)
        found.append(next((one for one in findings if one.signature() == signature), None))
    remove(folder)
    return found

