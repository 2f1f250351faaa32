"""shardcts diff A B: what has changed from run A to run B; exit code 1 when something got worse.

Worse is: a test that was not red is red; a test that passed is gone, not supported or only advice; a capability is no
longer declared; values that agreed with the baseline do not; B was cut short and A was not.
"""
import argparse
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .boundary import run_as_command
from .load import InputError
from .markdown import code, table, text
from .model import Implementation, Report, first_reason, read_report
from .suites import PARITY_FIELDS
from .verdicts import PROBLEMS
from .versions import ABSENT

SLOWER = 2.0          # times as long, and at least
SLOWER_SECONDS = 2.0  # more: a test that got slower
MOST_SHOWN = 50       # tests of one kind in Markdown; JSON has all


@dataclass(frozen=True)
class Change:
    """A test whose verdict is another one."""
    id: str
    before: str
    after: str
    reason: str  # why, in the run where it is not green


@dataclass
class Difference:
    """Between two runs of one implementation."""
    before: str  # label
    after: str
    counts: tuple[dict, dict]
    newly_failing: list[Change] = field(default_factory=list)
    lost: list[Change] = field(default_factory=list)          # passed before; now gone, not supported or advice
    newly_passing: list[Change] = field(default_factory=list)
    other: list[Change] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)          # that had not passed
    new_waivers: list[str] = field(default_factory=list)      # tests that were not waived before
    ended_waivers: list[str] = field(default_factory=list)
    capabilities_lost: list[str] = field(default_factory=list)
    capabilities_gained: list[str] = field(default_factory=list)
    patches: list[str] = field(default_factory=list)          # "+ target", "- target"
    parity: list[str] = field(default_factory=list)           # "against torch: different 0 -> 2"
    parity_worse: bool = False
    seconds: tuple[float, float] = (0.0, 0.0)
    slower: list[str] = field(default_factory=list)

    @property
    def is_regression(self) -> bool:
        return bool(self.newly_failing or self.lost or self.capabilities_lost or self.parity_worse)


@dataclass
class Comparison:
    differences: list[Difference]
    facts: list[str]        # of the runs as a whole: versions, seeds, implementations that only one has
    cut_short: bool         # B, and A was not
    gone: list[str]         # implementations that only A has

    @property
    def is_regression(self) -> bool:
        return self.cut_short or bool(self.gone) or any(difference.is_regression for difference in self.differences)


def compare(before: Report, after: Report) -> Comparison:
    """Implementations are paired by their labels; where each run has one only, these two."""
    labels = [(label, label) for label in before.labels if label in after.labels]
    if not labels and len(before.labels) == len(after.labels) == 1:
        labels = [(before.labels[0], after.labels[0])]
    gone = [label for label in before.labels if label not in dict(labels)]
    new = [label for label in after.labels if label not in dict(labels).values()]
    facts = _facts(before, after) + [f"{label} is only in the second run" for label in new]
    return Comparison([_difference(before, after, *pair) for pair in labels], facts,
                      before.complete and not after.complete, gone)


def _facts(before: Report, after: Report) -> list[str]:
    pairs = [("commit of the suite", *(report.run["suite_commit"] for report in (before, after))),
             ("seed", *(report.run["seed"] for report in (before, after)))]
    keys = dict.fromkeys([*before.run["environment"], *after.run["environment"]])
    pairs += [(key, *(report.run["environment"].get(key) for report in (before, after))) for key in keys]
    return [f"{name}: {old or 'unknown'} -> {new or 'unknown'}" for name, old, new in pairs if old != new]


def _difference(before: Report, after: Report, old_label: str, new_label: str) -> Difference:
    old, new = (_implementation(report, label) for report, label in ((before, old_label), (after, new_label)))
    made = Difference(old_label, new_label, (old.counts, new.counts))
    tests = [{test["id"]: test for test in report.tests if test["implementation"] == label}
             for report, label in ((before, old_label), (after, new_label))]
    for name in dict.fromkeys([*tests[0], *tests[1]]):
        _note(name, tests[0].get(name), tests[1].get(name), made)
    had, has = set(old.record["capabilities"]), set(new.record["capabilities"])
    made.capabilities_lost, made.capabilities_gained = sorted(had - has), sorted(has - had)
    _note_patches(old.record, new.record, made)
    _note_parity(old, new, made)
    shared = tests[0].keys() & tests[1].keys()
    made.seconds = tuple(sum(of[name]["seconds"] for name in shared) for of in tests)
    return made


def _implementation(report: Report, label: str) -> Implementation:
    return next(each for each in report.implementations if each.label == label)


def _note(name: str, old: dict | None, new: dict | None, made: Difference) -> None:
    verdicts = [test["verdict"] if test else ABSENT for test in (old, new)]
    change = Change(name, *verdicts, first_reason(new if new and new["verdict"] != "pass" else old or new) if old or new else "")
    if old is None:
        made.added.append(name)
        if verdicts[1] in PROBLEMS:
            made.newly_failing.append(change)
    elif verdicts[1] in PROBLEMS and verdicts[0] not in PROBLEMS:
        made.newly_failing.append(change)
    elif verdicts[0] == "pass" and verdicts[1] in (ABSENT, "not_supported", "advice", "not_applicable"):
        made.lost.append(change)
    elif new is None:
        made.removed.append(name)
    elif verdicts[0] in PROBLEMS and verdicts[1] not in PROBLEMS:
        made.newly_passing.append(change)
    elif verdicts[0] != verdicts[1]:
        made.other.append(change)
    if verdicts[1] == "waived" and verdicts[0] != "waived":
        made.new_waivers.append(name)
    if verdicts[0] == "waived" and verdicts[1] != "waived":
        made.ended_waivers.append(name)
    if old and new and new["seconds"] > max(SLOWER * old["seconds"], old["seconds"] + SLOWER_SECONDS):
        made.slower.append(f"{name}: {old['seconds']:.1f} s -> {new['seconds']:.1f} s")


def _note_patches(old: dict, new: dict, made: Difference) -> None:
    had, has = ({patch["target"] for patch in record["patches"]} for record in (old, new))
    made.patches = [f"+ {target}" for target in sorted(has - had)] + [f"- {target}" for target in sorted(had - has)]


def _note_parity(old: Implementation, new: Implementation, made: Difference) -> None:
    """Only of what both were compared with, and only where counts differ."""
    for against in old.parity.keys() & new.parity.keys():
        for name in PARITY_FIELDS:
            counts = [each.parity[against][name] for each in (old, new)]
            if counts[0] != counts[1]:
                made.parity.append(f"against {against}: {name} {counts[0]} -> {counts[1]}")
                made.parity_worse |= name in ("different", "structural") and counts[1] > counts[0]


def render_markdown(comparison: Comparison) -> str:
    worse = "✗ **something got worse**" if comparison.is_regression else "✓ **nothing got worse**"
    parts = ["# Two runs compared", worse]
    if comparison.cut_short:
        parts.append("The second run was cut short, the first was not.")
    lines = [f"* {text(fact)}" for fact in comparison.facts]
    lines += [f"* {code(label)} is only in the first run" for label in comparison.gone]
    parts += ["\n".join(lines)] if lines else []
    for difference in comparison.differences:
        parts += _sections(difference)
    return "\n\n".join(parts) + "\n"


def _sections(made: Difference) -> list[str]:
    title = code(made.before) if made.before == made.after else f"{code(made.before)} and {code(made.after)}"
    names = [name for name in made.counts[1] if made.counts[0][name] or made.counts[1][name]]
    rows = [[name, str(made.counts[0][name]), str(made.counts[1][name])] for name in names]
    rows.append(["seconds of tests in both", f"{made.seconds[0]:.1f}", f"{made.seconds[1]:.1f}"])
    parts = [f"## {title}", table(["", "before", "after"], rows)]
    for heading, entries in (("Newly failing", made.newly_failing), ("Lost", made.lost), ("Newly passing", made.newly_passing),
                             ("Other verdicts that differ", made.other)):
        parts += _listing(heading, [f"{code(each.id)}: {each.before} → {each.after}{': ' + text(each.reason) if each.reason else ''}"
                                    for each in entries])
    for heading, entries in (("Added tests", made.added), ("Removed tests", made.removed), ("Newly waived", made.new_waivers),
                             ("No longer waived", made.ended_waivers), ("Capabilities lost", made.capabilities_lost),
                             ("Capabilities gained", made.capabilities_gained), ("Patches", made.patches),
                             ("Parity", made.parity), ("Slower tests", made.slower)):
        parts += _listing(heading, [code(each) for each in entries])
    return parts


def _listing(heading: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    rest = [f"* and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
    return [f"### {heading}: {len(lines)}", "\n".join([*(f"* {line}" for line in lines[:MOST_SHOWN]), *rest])]


def render_json(comparison: Comparison) -> str:
    return json.dumps(asdict(comparison) | {"regression": comparison.is_regression}, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts diff", description="What has changed from one run to another.",
                                     epilog="Exit code: 0 nothing got worse, 1 something did, 2 wrong input.")
    parser.add_argument("before", type=Path, help="run folder")
    parser.add_argument("after", type=Path, help="run folder")
    parser.add_argument("--format", choices=("markdown", "json"), default="markdown")
    options = parser.parse_args(arguments)
    comparison = compare(read_report(options.before), read_report(options.after))
    if not comparison.differences:
        raise InputError(f"{options.before} and {options.after}: have no implementation in common")
    print(render_markdown(comparison) if options.format == "markdown" else render_json(comparison), end="")
    return 1 if comparison.is_regression else 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
