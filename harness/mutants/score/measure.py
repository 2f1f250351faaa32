"""Which tests reach which mutants, and which tests notice them."""

import collections
import json
import os
import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("shardcts", "shardcts-rank", "shardcts-start-rank", "libshardcts_reference.so")
TABLE = "libshardcts_reference_mutants.json"
# A mutant runs on its first tests, and only if it survives on more of them.
ROUNDS = (4, 12, 40)
MOST_TESTS = 600  # of one call: the results of a run are written again and again while it goes on


class MeasureFailed(Exception):
    """A run that says nothing about mutants."""


def program_beside(build):
    """The program in the folder of the drawn library, where it takes that one for the mutated reference."""
    folder = build / "mutation-score"
    for name in PROGRAMS:
        if (build / name).exists():
            shutil.copy2(build / name, folder / name)
    return folder / "shardcts"


def run(program, arguments, log):
    with open(log, "w") as file:
        return subprocess.run([program, *arguments], stdout=file, stderr=subprocess.STDOUT).returncode


def find_reach(program, selection, out):
    """({number of a mutant: tests that reach it}, {test: seconds}), from a run in which no mutant is on."""
    code = run(program, ["run", "--impl", "reference-mutant,reached=1", *selection, "--trace", "digest", "--out", out / "reach"],
               out / "reach.log")
    if code != 0:
        raise MeasureFailed(f"the copy without a mutant is not green (exit code {code}): {out / 'reach.log'}")
    reach, seconds = collections.defaultdict(set), {}
    for reached in (out / "reach/runs").rglob("reached-rank-*.txt"):
        events = reached.parent / f"rank-{reached.stem.rsplit('-', 1)[1]}.events.jsonl"
        tests = finished_tests(events.read_text().splitlines())
        lines = reached.read_text().splitlines()
        if len(lines) != len(tests):
            raise MeasureFailed(f"{reached}: {len(lines)} lines for {len(tests)} tests")
        for (test, took, verdict), line in zip(tests, lines):
            if verdict != "pass":  # a SHOULD that the reference itself does not keep says nothing about a mutant
                continue
            seconds[test] = max(took, seconds.get(test, 0))
            for number in line.split():
                reach[int(number)].add(test)
    return reach, seconds


def finished_tests(lines):
    """(id, seconds, verdict of the rank) of the tests that have run, in order."""
    events = [json.loads(line) for line in lines]
    return [(event["test"], event["seconds"], event["verdict"]) for event in events
            if event["event"] == "test_finished" and event["verdict"] not in ("not_supported", "not_applicable")]


def in_order(tests, seconds):
    """Small worlds first; of each instance one test in the smallest world, then one in the largest, then the rest."""
    def key(test):
        world = int(test.split("world_size=")[1].split(",")[0]) if "world_size=" in test else 1
        return world, seconds[test], test

    by_instance = collections.defaultdict(list)
    for test in sorted(tests, key=key):
        by_instance["/".join(test.split("/")[:2])].append(test)
    turns = collections.defaultdict(list)
    for tests_here in by_instance.values():
        largest = min(tests_here, key=lambda test: (-key(test)[0], *key(test)[1:]))
        order = [tests_here[0], largest, *tests_here[1:]]
        for turn, test in enumerate(dict.fromkeys(order)):
            turns[turn].append(test)
    return [test for turn in sorted(turns) for test in sorted(turns[turn], key=key)]


def find_kills(program, mutants, reach, seconds, options, out, say):
    """{name: row of the kill table} of every mutant that some test reaches; a killed one has run on some of them only."""
    waiting = {number: in_order(tests, seconds)[:options.tests] for number, tests in reach.items()
               if "left_out" not in mutants[number]}
    rows = {}
    for k, size in enumerate([*ROUNDS, None]):
        now = {number: tests[:size] for number, tests in waiting.items() if tests}
        if not now:
            break
        say(f"round {k + 1}: {len(now)} mutants, {sum(map(len, now.values()))} tests")
        table = run_round(program, mutants, now, options, out / f"round-{k + 1}")
        for number, tests in now.items():
            row = table[mutants[number]["name"]]
            rows[mutants[number]["name"]] = row
            waiting[number] = [] if row["verdict"] == "killed" else waiting[number][len(tests):]
    return rows


def run_round(program, mutants, tests, options, out):
    """{name: row} of the mutants with these numbers, each on its own tests."""
    table = {}
    for k, batch in enumerate(batches(tests)):
        table |= run_batch(program, mutants, batch, options, out.with_name(f"{out.name}-{k + 1}"))
    return table


def batches(tests):
    batch, size = {}, 0
    for number, ids in tests.items():
        if batch and size + len(ids) > MOST_TESTS:
            yield batch
            batch, size = {}, 0
        batch[number] = ids
        size += len(ids)
    yield batch


def run_batch(program, mutants, tests, options, out):
    """A mutant that breaks what comes before any test ends a run: it is killed, and the others are run without it."""
    tests, table = dict(tests), {}
    while tests and not run_mutants(program, mutants, tests, options, out):
        broken = [number for number in tests if f"+mutant={mutants[number]['name']}: " in last_line(f"{out}.log")]
        if not broken:
            raise MeasureFailed(f"`shardcts mutants` made no table: {out}.log")
        for number in broken:
            table[mutants[number]["name"]] = {"verdict": "killed", "killed_by": [{"test": "before the first test", "check": ""}]}
            del tests[number]
        shutil.rmtree(out, ignore_errors=True)
    if tests:
        for folder in ("traces", "blobs", "runs"):  # large; the table has what counts
            shutil.rmtree(out / folder, ignore_errors=True)
        table |= {row["name"]: row for row in json.loads((out / "mutants.json").read_text())["mutants"]}
    return table


def run_mutants(program, mutants, tests, options, out):
    """Whether there is a table afterwards."""
    rows = [{"name": mutant["name"], "description": mutant["breaks"], "models": mutant["models"], "suites": [],
             "expected_checks": [], "min_world_size": 1, "unnoticed": "", "tests": tests.get(number, [])}
            for number, mutant in enumerate(mutants)]
    (program.parent / TABLE).write_text(json.dumps({"mutants": rows}))
    run(program, ["mutants", "--impl", "reference", "--kind", "source", "--only-mutants", *options.selection,
                  "--jobs", str(options.jobs), "--timeout", str(options.timeout), "--stop-timeout", "1",
                  "--stop-after-hangs", "0", "--trace", "digest", "--out", out], f"{out}.log")
    return (out / "mutants.json").exists()


def last_line(file):
    lines = Path(file).read_text(errors="replace").splitlines()
    return lines[-1] if lines else ""


def jobs_here():
    return len(os.sched_getaffinity(0))
