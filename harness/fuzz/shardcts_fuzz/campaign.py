"""Fuzzing: batches of programs, their findings by group, and what has been covered."""

import time
from collections import Counter
from dataclasses import dataclass, field, replace

from shardcts_fuzz.coverage import Coverage
from shardcts_fuzz.oracles import Judge, ended
from shardcts_fuzz.pools import OutOfTime, RunError, remove
from shardcts_fuzz.sequence import Programs

FIRST_BATCH = 30
LARGEST_BATCH = 240
GRACE = 3.0  # seconds that a batch may be late; then it is stopped, and what it found is lost


@dataclass
class Group:
    """Findings of one cause."""

    finding: object  # the first
    program: object  # the shortest that shows it
    count: int = 1
    shrunk: bool = False
    stable: str = "not tried"


@dataclass
class Counts:
    programs: int = 0
    operations: int = 0
    legal: int = 0
    not_supported: int = 0
    refused_by_all: Counter = field(default_factory=Counter)
    seconds: float = 0.0


class Campaign:
    """`corpus`: programs that run first, and from which others descend. `until_found`: no batch after one with findings.
    `contract`: {operation: arguments}, of which coverage tells what was never used."""

    def __init__(self, pools, implementations, seed, worlds, known, contract, rules=None, corpus=(), until_found=False,
                 say=lambda text: None):  # fmt: skip
        self.pools, self.implementations = pools, implementations
        self.seed, self.worlds, self.known, self.rules = seed, worlds, known, rules
        self.contract, self.corpus, self.until_found = contract, list(corpus), until_found
        self.groups, self.counts, self.coverage = {}, Counts(), Coverage()
        self.next_program = 0
        self._say = say

    def go(self, first, programs, seconds):
        """`programs`, `seconds`: the limits, of which one may be None. `next_program` is then the number of the next one."""
        start, self.next_program = time.monotonic(), first
        size = FIRST_BATCH if seconds is None else max(1, min(FIRST_BATCH, int(2 * seconds)))
        end = None if seconds is None else start + seconds + GRACE
        made = Programs(self.seed, self.worlds, self.known, self.corpus)
        if self.corpus and self.batch(self.corpus, end):
            self.counts.seconds = time.monotonic() - start
            self._say(f"the corpus: {self.line()}")
        while not (self.until_found and self.groups):
            left = size if programs is None else min(size, first + programs - self.next_program)
            if left <= 0:
                break
            if not self.batch([made.make(self.next_program + index) for index in range(left)], end):
                break
            self.next_program += left
            self.counts.seconds = time.monotonic() - start
            self._say(self.line())
            size = min(LARGEST_BATCH, size * 2)
            if seconds is not None:  # as many as there is time for, as far as one can tell
                rest = (seconds - self.counts.seconds) * self.counts.programs / self.counts.seconds
                size = min(size, int(rest))
            if size < 1:
                break
        self.counts.seconds = time.monotonic() - start

    def line(self):
        rate = self.counts.programs / max(self.counts.seconds, 0.001)
        return f"{self.counts.programs} programs, {rate:.1f}/s, {len(self.groups)} groups of findings"

    def batch(self, programs, end=None):
        """Whether it was done by then."""
        try:
            runs, folder = self.pools.run(programs, self.implementations, end)
        except OutOfTime:
            return False
        for program, of_program in zip(programs, runs):
            self._one(program, of_program)
        remove(folder)
        return True

    def _one(self, program, runs):
        counts = self.counts
        counts.programs += 1
        counts.operations += len(program.steps())
        problem = next((run for run in runs.values() if run.verdict in ("harness_error", "not_run")), None)
        if problem:
            raise RunError(f"{program.place()}: {problem.verdict}: {problem.reason}", 3)
        if any(run.verdict == "not_supported" for run in runs.values()):
            counts.not_supported += 1
            return
        self.coverage.add(program)
        findings, legal, refused = findings_of(program, runs, self.known, self.rules)
        counts.legal += legal
        counts.refused_by_all.update(refused)
        for finding in findings:
            self._take(finding, program)

    def _take(self, finding, program):
        group = self.groups.get(finding.group())
        if group is None:
            self.groups[finding.group()] = Group(finding, program)
            self._say(f"new: {describe(finding)} ({program.place()})")
            return
        group.count += 1
        if len(program.steps()) < len(group.program.steps()) and not group.shrunk:
            group.finding, group.program = finding, program


def findings_of(program, runs, known, rules=None):
    """Findings, whether the program was legal, and what all implementations refuse alike."""
    bad = [ended(program, run.verdict, run.reason, source_of(name), last_operation(run, program))
           for name, run in runs.items() if run.ended_badly()]  # fmt: skip
    if bad:
        return [finding for finding in bad if not (known and known.explain(finding))], True, []
    recordings = {source_of(name): run.recording for name, run in runs.items()}
    judge = Judge(program, recordings, known, rules)
    legal = judge.legal()
    return [replace(finding, legal=legal) for finding in judge.judge()], legal, judge.refused_by_all


def source_of(implementation):
    """Without options and mutants."""
    return implementation.split(",")[0].split("+mutant=")[0]


def last_operation(run, program):
    last = ""
    for step in program.steps():
        if any(run.recording.outcomes(step.let)):
            last = step.op
    return last


def describe(finding):
    rule = finding.rule or finding.oracle
    return f"{finding.suspect}: {rule}: {finding.op} under {finding.wrapper}: {finding.difference}"
