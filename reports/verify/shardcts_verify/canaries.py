"""The proof that this run could have failed: mutants of the implementation under test, drawn after the run, must be killed;
and the reference, which needs nothing of the implementation, passes the same tests and kills the same mutants."""
from .documents import Fields
from .events import Pool
from .findings import Findings
from .manifest import Claim
from .part import Part, reports_of
from .profiles import Canary, Profile, draw_canaries
from .verdicts import combine

ORACLE = "reference"


def check_canaries(claim: Claim, profile: Profile, seed: str, passed: set[str], parts: dict[str, Part]) -> list[Canary]:
    findings, drawn = Findings(), draw_canaries(profile, seed, passed)
    names = [canary.mutant for canary in drawn]
    if claim.seed != seed or claim.canaries != names or not drawn:
        findings.add("canary.not-drawn", "manifest.json: canaries", f"{claim.canaries}, drawn are {names}")
    findings.stop()
    said = claim.implementation
    spec = (said.text("source"), said.text("device"), said.take("options", dict))
    _check_part(profile, drawn, parts["canaries"], spec, findings)
    findings.stop()
    own = Findings()
    _check_part(profile, drawn, parts["oracle"], (ORACLE, "cpu", {}), own)
    for finding in own.all:
        findings.add("oracle.red", finding.place, f"{finding.name}: {finding.detail}")
    findings.stop()
    return drawn


def _check_part(profile: Profile, drawn: list[Canary], part: Part, spec: tuple, findings: Findings) -> None:
    mutants = {canary.mutant for canary in drawn}
    for pool in part.pools:
        if (pool.source, pool.device, pool.options) != spec:
            findings.add("implementation.differs", f"{pool.place}/plan.json", f"runs {pool.label!r}")
        elif pool.mutant is not None and pool.mutant not in mutants:
            findings.add("canary.not-drawn", f"{pool.place}/plan.json", f"runs {pool.mutant!r}")
    for canary in drawn:
        test = profile.tests[canary.test]
        base = _runs_of(part, None, canary.test)
        if not base or any(combine(test, 0, reports_of(*run)).verdict != "pass" for run in base):
            findings.add("canary.base", f"{part.name}: {canary.test}", "does not pass, or was not run, without a mutant")
        _check_canary(part, canary, findings)


def _check_canary(part: Part, canary: Canary, findings: Findings) -> None:
    place = f"{part.name}: {canary.mutant} on {canary.test}"
    runs = _runs_of(part, canary.mutant, canary.test)
    if not runs:
        findings.add("canary.missing", place, "was not run")
    for run in runs:
        reports = reports_of(*run)
        failed = set().union(*(report.failed | {check for check, _ in report.failures} for report in reports))
        if not any(report.effective == "fail" for report in reports):
            findings.add("canary.alive", place, f"the ranks say {', '.join(report.effective for report in reports)}")
        elif not failed & set(canary.checks):
            findings.add("canary.other-check", place,
                         f"failed {', '.join(sorted(failed)) or 'no check'}, expected {', '.join(canary.checks)}")


def _runs_of(part: Part, mutant: str | None, test: str) -> list[tuple[Pool, int]]:
    return [(pool, index) for pool in part.pools if pool.mutant == mutant
            for index in pool.started if pool.planned[index].test == test]
