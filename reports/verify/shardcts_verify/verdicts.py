"""Verdicts of tests from the reports of their ranks, by the rules of docs/verdicts.md. Written apart from the suite's own."""
from dataclasses import dataclass, field

from .events import Report
from .profiles import Test

GREEN = ("pass", "not_applicable", "advice", "waived")


@dataclass
class Outcome:
    """Of a test, of one repetition, or of one phase."""
    verdict: str
    reason: str = ""
    missing: list[str] = field(default_factory=list)
    checks: set[str] = field(default_factory=set)  # of the failure
    flaky: bool = False


def combine(test: Test, phase: int, ranks: list[Report]) -> Outcome:
    """The worst of the ranks; pass only when every rank passed and evaluated what it must."""
    missing = _missing(test, phase, ranks)
    failed = set().union(*(rank.failed for rank in ranks), *({check for check, _ in rank.failures} for rank in ranks))
    for worst in ("harness_error", "diverged", "fail"):
        for number, rank in enumerate(ranks):
            if rank.effective == worst:
                return Outcome(worst, f"rank {number}: {_reason(rank)}", missing, failed)
    said = {rank.effective for rank in ranks}
    without = said - {"aborted"}
    if len(without) > 1:
        return Outcome("diverged", f"ranks disagree: {_listing(ranks)}", missing)
    if not without or (said != without and "pass" in said):
        return Outcome("harness_error", f"ranks stopped although none failed: {_listing(ranks)}", missing)
    if "pass" in said:
        if missing:
            return Outcome("incomplete", f"not evaluated on every rank: {' '.join(missing)}", missing, set(missing))
        return Outcome("pass")
    verdict = without.pop()
    return Outcome(verdict, next(_reason(rank) for rank in ranks if rank.effective == verdict))


def of_phases(test: Test, phases: list[Outcome]) -> Outcome:
    """A phase runs only if the one before has passed: the last one that ran decides."""
    last = phases[-1]
    if last.verdict == "pass" and len(phases) < len(test.worlds):
        return Outcome("harness_error", f"phase {len(phases) + 1} of {len(test.worlds)} was not run")
    return last


def as_level(test: Test, outcome: Outcome) -> Outcome:
    """A SHOULD that does not hold is advice."""
    if test.level == "SHOULD" and outcome.verdict in ("fail", "diverged"):
        return Outcome("advice", outcome.reason, outcome.missing, outcome.checks)
    return outcome


def of_repetitions(outcomes: list[Outcome]) -> Outcome:
    """Repetitions with different verdicts are flaky, which is red."""
    worst = min(outcomes, key=lambda outcome: _order(outcome.verdict))
    if len({outcome.verdict for outcome in outcomes}) == 1:
        return worst
    verdict = worst.verdict if worst.verdict not in GREEN and worst.verdict != "not_supported" else "fail"
    said = ", ".join(outcome.verdict for outcome in outcomes)
    return Outcome(verdict, f"flaky: {said}: {worst.reason}", worst.missing, worst.checks, flaky=True)


def _order(verdict: str) -> int:
    worst_first = ("diverged", "fail", "incomplete", "unexpected_pass", "advice", "harness_error", "not_supported",
                   "not_applicable", "waived", "pass")
    return worst_first.index(verdict)


def _missing(test: Test, phase: int, ranks: list[Report]) -> list[str]:
    missing = []
    for check in test.checks_of(phase):
        if any(check.id in rank.limited for rank in ranks):
            continue
        if any(check.wants(number) and not rank.evaluated.get(check.id) for number, rank in enumerate(ranks)):
            missing.append(check.id)
    return missing


def _reason(rank: Report) -> str:
    if rank.reason or not rank.failures:
        return rank.reason
    check, message = rank.failures[0]
    return f"{check}: {message}" if check else message


def _listing(ranks: list[Report]) -> str:
    return ", ".join(f"rank {number}: {rank.effective}" for number, rank in enumerate(ranks))
