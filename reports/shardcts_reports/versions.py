"""python -m shardcts_reports.versions DIR DIR… [--out FILE]: runs of several versions of PyTorch, a column for each."""
import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .boundary import run_as_command
from .load import InputError
from .markdown import code, table, text
from .model import Report, first_reason, function_of, read_report
from .verdicts import VERDICTS
from .write import write_files

ABSENT = "absent"  # the fate of a test that one run has and the other has not


@dataclass(frozen=True)
class Change:
    """Tests of one function or rule whose verdict differs in the same way between two runs."""
    implementation: str
    function: str
    before: str
    after: str
    tests: tuple[str, ...]
    reason: str  # of the first of them, in the run where it is not green


def version_of(report: Report) -> str:
    return report.run["environment"]["torch"] or "unknown version"


def read_versions(folders: list[Path]) -> list[Report]:
    """InputError for a folder without a valid run, and for two runs of one version."""
    reports = [read_report(folder) for folder in folders]
    for version, count in Counter(map(version_of, reports)).items():
        if count > 1:
            raise InputError(f"{count} of the runs are of {version}: a column is a version")
    return reports


def changes_between(before: Report, after: Report) -> list[Change]:
    """In the order of the implementations, then of the tests."""
    results = [{(test["implementation"], test["id"]): test for test in report.tests} for report in (before, after)]
    groups: dict[tuple, list[dict]] = {}
    for key in dict.fromkeys([*results[0], *results[1]]):
        old, new = (found.get(key) for found in results)
        verdicts = tuple(test["verdict"] if test else ABSENT for test in (old, new))
        if verdicts[0] != verdicts[1]:
            told = new if new and new["verdict"] != "pass" else old or new
            groups.setdefault((key[0], function_of(told), *verdicts), []).append(told)
    return [Change(*key, tuple(test["id"] for test in tests), first_reason(tests[0])) for key, tests in groups.items()]


def render_markdown(reports: list[Report]) -> str:
    parts = ["# Versions of PyTorch", _counts(reports), "Each row is an implementation and a suite: verdicts of its tests."]
    for before, after in zip(reports, reports[1:]):
        parts.append(f"## From {text(version_of(before))} to {text(version_of(after))}")
        changes = changes_between(before, after)
        parts.append("\n".join(map(_line, changes)) if changes else "No verdict differs.")
    return "\n\n".join(parts) + "\n"


def _counts(reports: list[Report]) -> str:
    rows = dict.fromkeys((test["implementation"], test["suite"]) for report in reports for test in report.tests)
    header = ["implementation", "suite", *(version_of(report) for report in reports)]
    return table(header, [[code(label), code(suite), *(_cell(report, label, suite) for report in reports)]
                          for label, suite in rows])


def _cell(report: Report, label: str, suite: str) -> str:
    counts = Counter(test["verdict"] for test in report.tests
                     if test["implementation"] == label and test["suite"] == suite)
    found = ", ".join(f"{counts[name]} {VERDICTS[name].label}" for name in VERDICTS if counts[name])
    return found + ("" if report.complete else " (incomplete run)")


def _line(change: Change) -> str:
    reason = f": {text(change.reason)}" if change.reason else ""
    return (f"* {code(change.implementation)} {code(change.function)}, {change.before} → {change.after} in "
            f"{len(change.tests)} of its tests, as {code(change.tests[0])}{reason}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts_reports.versions", description="Compares runs of versions of PyTorch.")
    parser.add_argument("folders", type=Path, nargs="+", help="run folders, the oldest version first")
    parser.add_argument("--out", type=Path, help="the Markdown file (default: print it)")
    options = parser.parse_args(arguments)
    page = render_markdown(read_versions(options.folders))
    if options.out is None:
        print(page, end="")
    else:
        write_files(options.out.parent, {options.out.name: page.encode("utf-8", "replace")})
        print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
