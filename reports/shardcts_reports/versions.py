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
NOT_RUN = "not_run"


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


def suites_of(report: Report) -> dict[tuple[str, str], None]:
    """Implementation and suite, in the order of the tests."""
    return dict.fromkeys((test["implementation"], test["suite"]) for test in report.tests)


def changes_between(before: Report, after: Report) -> list[Change]:
    """In the order of the implementations, then of the tests. Without what gaps_between names."""
    shared = suites_of(before).keys() & suites_of(after).keys()
    results = [{(test["implementation"], test["id"]): test for test in report.tests
                if (test["implementation"], test["suite"]) in shared} for report in (before, after)]
    groups: dict[tuple, list[dict]] = {}
    for key in dict.fromkeys([*results[0], *results[1]]):
        old, new = (found.get(key) for found in results)
        verdicts = tuple(test["verdict"] if test else ABSENT for test in (old, new))
        if verdicts[0] != verdicts[1] and NOT_RUN not in verdicts:
            told = new if new and new["verdict"] != "pass" else old or new
            groups.setdefault((key[0], function_of(told), *verdicts), []).append(told)
    return [Change(*key, tuple(test["id"] for test in tests), first_reason(tests[0])) for key, tests in groups.items()]


def gaps_between(before: Report, after: Report) -> list[str]:
    """One line for what is in one of the runs only: an implementation, a suite of it, tests that were not run."""
    lines = []
    for report, other in ((before, after), (after, before)):
        for label in dict.fromkeys(label for label, _ in suites_of(other)):
            here = {suite for name, suite in suites_of(report) if name == label}
            lacking = [code(suite) for name, suite in suites_of(other) if name == label and suite not in here]
            not_run = sum(test["implementation"] == label and test["verdict"] == NOT_RUN for test in report.tests)
            if lacking:
                lines.append(f"* {code(label)} on {text(version_of(report))}: {', '.join(lacking) if here else 'nothing'} "
                             f"was {'not ' if here else ''}run")
            if not_run:
                lines.append(f"* {code(label)} on {text(version_of(report))}: {not_run} tests were not run")
    return lines


def render_markdown(reports: list[Report]) -> str:
    parts = ["# Versions of PyTorch", _counts(reports), "Each row is an implementation and a suite: verdicts of its tests."]
    for before, after in zip(reports, reports[1:]):
        parts.append(f"## From {text(version_of(before))} to {text(version_of(after))}")
        lines = [*gaps_between(before, after), *map(_line, changes_between(before, after))]
        parts.append("\n".join(lines) if lines else "No verdict differs.")
    return "\n\n".join(parts) + "\n"


def _counts(reports: list[Report]) -> str:
    rows = dict.fromkeys(pair for report in reports for pair in suites_of(report))
    header = ["implementation", "suite", *(version_of(report) for report in reports)]
    return table(header, [[code(label), code(suite), *(_cell(report, label, suite) for report in reports)]
                          for label, suite in rows])


def _cell(report: Report, label: str, suite: str) -> str:
    counts = Counter(test["verdict"] for test in report.tests
                     if test["implementation"] == label and test["suite"] == suite)
    found = ", ".join(f"{counts[name]} {VERDICTS[name].label}" for name in VERDICTS if counts[name])
    if not found:
        return "not run"
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
