"""shardcts merge A B… --out DIR: one run of several, which shards or hosts have made. What overlaps must agree."""
import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from .boundary import run_as_command
from .load import InputError
from .model import Report, read_report
from .verdicts import VERDICTS
from .write import write_files

SHARD = re.compile(r"--shard[ =]'?(\d{1,9})/(\d{1,9})")
MOST_SHARDS = 10_000
SAME_IN_RUN = ("seed", "suite_commit", "pool", "repeat", "require", "require_should", "load_with")
SAME_IN_IMPLEMENTATION = ("label", "name", "version", "source", "device", "options", "mutant", "capabilities", "patches")


def merge(reports: list[Report]) -> dict:
    """The document of the merged run. InputError for runs that are not parts of one."""
    first = reports[0]
    for report in reports[1:]:
        for key in SAME_IN_RUN:
            if report.run.get(key) != first.run.get(key):
                raise InputError(f"{report.folder}: run.{key} is {report.run.get(key)!r}, "
                                 f"of {first.folder} {first.run.get(key)!r}: they are no parts of one run")
    implementations = _implementations(reports)
    tests = _tests(reports)
    summary = {record["label"]: dict.fromkeys(VERDICTS, 0) for record in implementations}
    for test in tests:
        summary[test["implementation"]][test["verdict"]] += 1
    run = first.run | {"command": "; ".join(report.run["command"] for report in reports)[:400_000],
                       "started": min(report.run["started"] for report in reports),
                       "seconds": max(report.run["seconds"] for report in reports),
                       "environment": _agreed([report.run["environment"] for report in reports])}
    complete = all(report.complete for report in reports) and not missing_shards(reports)
    return first.document | {"complete": complete, "run": run,
                             "implementations": implementations, "summary": summary, "suites": _suites(reports),
                             "pools": [pool for report in reports for pool in report.document["pools"]], "tests": tests}


def missing_shards(reports: list[Report]) -> list[str]:
    """Those that the commands of the parts (`--shard I/N`) ask for and that are not there: "3/3"."""
    there = {(int(index), int(count)) for report in reports
             for index, count in SHARD.findall(report.run["command"])}
    counts = {count for _, count in there if count <= MOST_SHARDS}
    return [f"{index}/{count}" for count in sorted(counts) for index in range(1, count + 1)
            if (index, count) not in there]


def _implementations(reports: list[Report]) -> list[dict]:
    found: dict[str, dict] = {}
    for report in reports:
        for record in report.document["implementations"]:
            known = found.setdefault(record["label"], record)
            for key in SAME_IN_IMPLEMENTATION:
                if record[key] != known[key]:
                    raise InputError(f"{report.folder}: {record['label']}: {key} is {record[key]!r}, before {known[key]!r}")
    return list(found.values())


def _tests(reports: list[Report]) -> list[dict]:
    """Each once; the paths of part N begin with parts/N."""
    found: dict[tuple[str, str], tuple[Report, dict]] = {}
    merged = []
    for number, report in enumerate(reports):
        for test in report.tests:
            key = (test["implementation"], test["id"])
            if key in found:
                other, known = found[key]
                if known["verdict"] != test["verdict"]:
                    raise InputError(f"{test['id']}: {known['verdict']} in {other.folder}, {test['verdict']} in {report.folder}")
                continue
            found[key] = (report, test)
            merged.append(_moved(test, f"parts/{number}"))
    return merged


def _moved(entry: dict, prefix: str) -> dict:
    """Logs are copied; recordings stay where they are."""
    moved = dict(entry)
    if moved.get("log"):
        moved["log"] = f"{prefix}/{moved['log']}"
    if "trace" in moved:
        moved["trace"] = None
    for key in ("repetitions", "phases"):
        if key in moved:
            moved[key] = [_moved(part, prefix) for part in moved[key]]
    return moved


def _suites(reports: list[Report]) -> list[dict]:
    found: dict[str, dict] = {}
    for report in reports:
        for suite in report.document.get("suites", []):
            if found.setdefault(suite["name"], suite) != suite:
                raise InputError(f"{report.folder}: suite {suite['name']} has another inventory than before")
    return list(found.values())


def _agreed(environments: list[dict]) -> dict:
    """What all hosts have in common; the others are listed."""
    first = environments[0]
    return {key: value if all(each.get(key) == value for each in environments) or not isinstance(value, str)
            else "; ".join(dict.fromkeys(str(each.get(key)) for each in environments)) for key, value in first.items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts merge", description="Makes one run of several: shards, or hosts.")
    parser.add_argument("folders", type=Path, nargs="+", help="run folders")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the merged run; must not exist, or be empty")
    options = parser.parse_args(arguments)
    if options.out.exists() and any(options.out.iterdir()):
        raise InputError(f"{options.out}: is not empty")
    reports = [read_report(folder) for folder in options.folders]
    document = merge(reports)
    for shard in missing_shards(reports)[:20]:
        print(f"shardcts merge: shard {shard} is missing: the run is not complete", file=sys.stderr)
    for number, folder in enumerate(options.folders):
        if (folder / "runs").is_dir():
            shutil.copytree(folder / "runs", options.out / f"parts/{number}/runs", symlinks=True)
    write_files(options.out, {"results.json": (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")})
    read_report(options.out)
    print(options.out / "results.json")
    return 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
