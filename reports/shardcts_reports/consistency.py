"""Rules that the schema of results.json cannot express: labels, ids, counts and verdicts must agree with each other."""
from collections import Counter
from pathlib import Path, PurePosixPath

from .load import InputError
from .verdicts import PROBLEMS, VERDICTS

SAYS_NOTHING = ("harness_error", "not_run")  # about the implementation


def check_consistency(document: dict, path: Path) -> None:
    """Raises InputError naming the first contradiction."""
    for problem in _problems(document):
        raise InputError(f"{path}: {problem}")


def _problems(document):
    labels = [implementation["label"] for implementation in document["implementations"]]
    for label, times in Counter(labels).items():
        if times > 1:
            yield f"implementations: label {label!r} stands {times} times"
    yield from _test_problems(document, set(labels))
    yield from _summary_problems(document, labels)
    for index, pool in enumerate(document["pools"]):
        if pool["implementation"] not in labels:
            yield f"pools[{index}]: unknown implementation {pool['implementation']!r}"


def _test_problems(document, labels):
    loads_only = {record["label"] for record in document["implementations"] if record.get("loads_only")}
    tests = document["tests"]
    seen = set()
    for index, test in enumerate(tests):
        where = f"tests[{index}] ({test['id'][:120]!r})"
        if test["implementation"] not in labels:
            yield f"{where}: unknown implementation {test['implementation']!r}"
        if test["implementation"] in loads_only:
            yield f"{where}: implementation {test['implementation']!r} only loads"
        key = (test["implementation"], test["id"])
        if key in seen:
            yield f"{where}: second result of this id for implementation {test['implementation']!r}"
        seen.add(key)
        yield from _rank_problems(test, where)
        yield from _phase_problems(test, where, labels)
        yield from _verdict_problems(test, where)
        yield from _waiver_problems(test, where)
        yield from _repetition_problems(test, where)
        for entry in (test, *test["repetitions"], *test.get("phases", [])):
            for field in ("log", "trace"):
                if entry.get(field) and _leaves_folder(entry[field]):
                    yield f"{where}: {field}: {entry[field][:120]!r} leaves the run folder"


def _rank_problems(test, where):
    ranks = [entry["rank"] for entry in test["ranks"]]
    if len(set(ranks)) != len(ranks):
        yield f"{where}: ranks: a rank stands twice"
    named = ranks + [rank for entry in test["checks"]["evaluated"].values() for rank in entry["ranks"]]
    beyond = [rank for rank in named if rank >= test["world_size"]]
    if beyond:
        yield f"{where}: rank {beyond[0]} in a world of {test['world_size']}"


def _phase_problems(test, where, labels):
    phases = test.get("phases", [])
    if not phases:
        return
    largest = max(phase["world_size"] for phase in phases)
    if largest != test["world_size"]:
        yield f"{where}: world size {test['world_size']}, its largest phase has {largest}"
    for number, phase in enumerate(phases, 1):
        if phase["implementation"] is not None and phase["implementation"] not in labels:
            yield f"{where}: phase {number}: unknown implementation {phase['implementation']!r}"
        beyond = [entry["rank"] for entry in phase["ranks"] if entry["rank"] >= phase["world_size"]]
        if beyond:
            yield f"{where}: phase {number}: rank {beyond[0]} in a world of {phase['world_size']}"
        if test["verdict"] == "pass" and phase["verdict"] != "pass":
            yield f"{where}: verdict pass, but phase {number} is {phase['verdict']}"


def _verdict_problems(test, where):
    if test["verdict"] == "advice" and test.get("level") != "SHOULD":
        yield f"{where}: verdict advice, but level {test.get('level')}"
    if test["verdict"] != "pass":
        return
    checks = test["checks"]
    failed = [check for check, entry in checks["evaluated"].items() if entry["failed"]]
    unaccounted = [check for check in checks["expected"]
                   if check not in checks["evaluated"] and check not in checks["device_limited"]]
    if test["failures"] or failed:
        yield f"{where}: verdict pass with failures {' '.join(failed)}".rstrip()
    if checks["missing"] or unaccounted:
        yield f"{where}: verdict pass, but not evaluated: {' '.join(checks['missing'] or unaccounted)}"


def _waiver_problems(test, where):
    waiver = test["waiver"]
    if test["verdict"] not in ("waived", "unexpected_pass"):
        return
    if waiver is None:
        yield f"{where}: verdict {test['verdict']} without a waiver"
    elif test["verdict"] == "waived" and (waiver["problem"] or waiver["found"] != waiver["verdict"]):
        yield f"{where}: verdict waived, but its waiver does not hold"


def _repetition_problems(test, where):
    verdicts = {entry["verdict"] for entry in test["repetitions"]} - set(SAYS_NOTHING)
    if test["flaky"] != (len(verdicts) > 1):
        yield f"{where}: flaky is {str(test['flaky']).lower()}, the repetitions say {' '.join(sorted(verdicts)) or 'nothing'}"
    if test["flaky"] and test["verdict"] not in PROBLEMS:
        yield f"{where}: flaky, but verdict {test['verdict']}"
    if test["verdict"] == "pass" and any(entry["verdict"] != "pass" for entry in test["repetitions"]):
        yield f"{where}: verdict pass, but not of every repetition"


def _summary_problems(document, labels):
    counted = {label: dict.fromkeys(VERDICTS, 0) for label in labels}
    for test in document["tests"]:
        counted[test["implementation"]][test["verdict"]] += 1
    for label in sorted(set(labels) ^ set(document["summary"])):
        yield f"summary: {label!r} is not in both, summary and implementations"
    for label, counts in document["summary"].items():
        for verdict, count in counts.items():
            if count != counted[label][verdict]:
                yield f"summary.{label}.{verdict}: says {count}, the tests say {counted[label][verdict]}"


def _leaves_folder(text: str) -> bool:
    path = PurePosixPath(text)
    return path.is_absolute() or ".." in path.parts or "\0" in text
