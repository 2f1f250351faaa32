"""Random faults at random operations, one in every second test or so: every test gets the verdict that its fault calls
for, none is lost, and no process is left.

SHARDCTS_SOAK_FAULTS says how many faults (20), SHARDCTS_SOAK_SEED which (drawn, and printed, when it is not set)."""

import json
import os
import random
import time
from collections import Counter
from dataclasses import dataclass

from conftest import FAULTY, SHARDCTS, SUITE, SYNTHETIC

FAULTS = int(os.environ.get("SHARDCTS_SOAK_FAULTS", "20"))
SEED = int(os.environ.get("SHARDCTS_SOAK_SEED", time.time_ns() % 1_000_000))
VERDICT = {"kill": "crash", "stop": "hang", "error": "fail", "throw": "fail", "half_close": "crash", "noise": "crash",
           "sleep": "hang", "nan": "diverged"}  # half_close, noise, sleep: what the controller's connection shows
TEST_SECONDS = 6  # no test takes so long on a busy machine, a stopped rank costs it


@dataclass
class Field:
    """Tests that faults are put into."""

    program: object
    words: tuple
    kinds: tuple
    operations: dict  # by test: how many operations each of its ranks runs


def operations_of(run) -> dict[str, list[int]]:
    """By test and rank, as recorded: those after the seed, which faults are counted from, without the harness's own."""
    found = {}
    for test in run.tests:
        assert test["verdict"] == "pass", test
        traces = [run.folder / test["trace"] / f"rank-{rank}.jsonl" for rank in range(test["world_size"])]
        names = [[json.loads(line)["op"] for line in trace.read_text().splitlines()[1:]] for trace in traces]
        after_seed = [of_rank[len(of_rank) - of_rank[::-1].index("implementation.seed"):] for of_rank in names]
        found[test["id"]] = [sum(not name.startswith("implementation.") for name in of_rank) for of_rank in after_seed]
    return found


def fields(run_shardcts) -> list[Field]:
    """The small suite on 2 ranks, where a wrong answer has no one verdict, and walks on 2, 3 and 4 ranks."""
    made = []
    for program, words, kinds in [
        (SHARDCTS, ("--suite", SUITE.split("/")[0], "--world", "2"), tuple(kind for kind in VERDICT if kind != "nan")),
        (SYNTHETIC, ("--filter", "test_walk"), tuple(VERDICT)),
    ]:
        _, run = run_shardcts("reference", *words, program=program, out=f"clean-{len(made)}")
        made.append(Field(program, words, kinds, operations_of(run)))
    return made


def draw_faults(field: Field, random_choice: random.Random, most: int) -> dict[str, dict]:
    tests = sorted(field.operations)
    chosen = random_choice.sample(tests, min(most, len(tests) // 2, 25))
    faults = {}
    for test in chosen:
        kind = random_choice.choice(field.kinds)
        rank = random_choice.randrange(len(field.operations[test]))
        last = field.operations[test][rank]
        if kind == "nan":
            last -= 2  # the end of a walk checks its answer instead of going on with it
        faults[test] = {"kind": kind, "rank": rank, "operation": random_choice.randint(1, last)}
    return faults


def test_every_fault_gets_its_verdict_and_no_other_test_notices(run_shardcts, tmp_path, capsys):
    random_choice = random.Random(SEED)
    with capsys.disabled():
        print(f"\nsoak: {FAULTS} faults, seed {SEED}")
    ground = fields(run_shardcts)
    shown = Counter()
    begin = time.monotonic()
    batch = 0
    while shown.total() < FAULTS:
        field = ground[batch % len(ground)]
        faults = draw_faults(field, random_choice, FAULTS - shown.total())
        (tmp_path / "faults.json").write_text(json.dumps(faults))
        ended, run = run_shardcts(f"{FAULTY},faults={tmp_path}/faults.json", *field.words, "--timeout", TEST_SECONDS,
                                  "--stop-after-hangs", "1000", program=field.program, out=f"out-{batch}", timeout=900)
        assert run.complete, ended
        assert {test["id"] for test in run.tests} == set(field.operations), "no result is lost"
        wrong = [f"seed {SEED}: {faults.get(test['id'])} in {test['id']} gave {test['verdict']}: {test['reason']}"
                 for test in run.tests
                 if test["verdict"] != (VERDICT[faults[test["id"]]["kind"]] if test["id"] in faults else "pass")]
        assert wrong == []
        shown.update(fault["kind"] for fault in faults.values())
        batch += 1
        with capsys.disabled():
            print(f"soak: {shown.total()} faults in {batch} runs, {time.monotonic() - begin:.0f} s: {dict(shown)}")
