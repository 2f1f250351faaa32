"""Judges the main run of a bundle: options, identity, tests, verdicts. Every fault is a finding with its place."""
import re
import shlex
from datetime import datetime, timezone

from .archive import Archive
from .documents import Fields, parse_json
from .events import Pool
from .findings import Finding, Findings, Rejected
from .manifest import Claim
from .part import Part, reports_of
from .profiles import REPETITIONS, SEED, TEST_TIMEOUT_SECONDS, TRACE, Profile
from .verdicts import GREEN, Outcome, as_level, combine, of_phases, of_repetitions
from .waivers import Waiver, apply_waivers, read_waivers

ALLOWED_OPTIONS = ("--impl", "--device", "--profile", "--level", "--waivers", "--repeat", "--seed", "--trace", "--timeout",
                   "--launcher", "--control-address", "--jobs", "--storage-root", "--out", "--start-timeout")
_SLACK_SECONDS = 5.0  # clocks of several hosts
_EARLIEST = 1.6e9     # before the first version of the suite


def check_options(archive: Archive, claim: Claim, profile: Profile, commit: str, part: Part) -> Fields:
    """What results.json and the plans say of how the run was made. Returns results.json."""
    place = f"{part.name}/results.json"
    results = Fields(parse_json(archive.read(place), place), place, "member.form")
    findings, run = Findings(), results.object("run")
    for word in _options(run.text("command"), place):
        if word not in ALLOWED_OPTIONS:
            findings.add("option.forbidden", f"{place}: run.command", word)
    expected = {"seed": SEED, "repeat": REPETITIONS, "pool": "shared", "load_with": None, "require_should": False}
    for key, value in expected.items():
        found = run.take(key, (int, str, bool, type(None)))
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            findings.add("option.value", f"{place}: run.{key}", f"{found!r}, a certified run has {value!r}")
    if sorted(run.texts("require")) != sorted(profile.capabilities):
        findings.add("option.value", f"{place}: run.require", "are not the capabilities of the profile")
    if run.text("suite_commit") != commit:
        findings.add("results.differs", f"{place}: run.suite_commit", f"{run.text('suite_commit')!r}, the manifest says {commit!r}")
    if results.take("complete", bool) is not True:
        findings.add("results.incomplete", place, "complete is false")
    labels = [Fields(entry, f"{place}: implementations", "member.form").text("label")
              for entry in results.take("implementations", list)]
    if labels != [claim.implementation.text("label")]:
        findings.add("results.differs", f"{place}: implementations", f"{labels}, the manifest has one other")
    for pool in part.pools:
        for key, found, value in (("seed", pool.seed, SEED), ("trace", pool.trace, TRACE),
                                  ("test_timeout_seconds", pool.timeout, TEST_TIMEOUT_SECONDS)):
            if found != value:
                findings.add("option.value", f"{pool.place}/plan.json: {key}", f"{found!r}, a certified run has {value!r}")
    findings.stop()
    return results


def check_identity(claim: Claim, profile: Profile, part: Part) -> None:
    """That all pools ran what the manifest names: implementation, device, patches, worlds."""
    findings, said = Findings(), claim.implementation
    if (profile.device == "cpu") != (said.text("device") == "cpu"):
        findings.add("device.differs", "manifest.json: implementation", f"{said.text('device')!r} is no {profile.device}")
    for pool in part.pools:
        _check_pool(pool, said, profile, findings)
        for rank, description in sorted(pool.descriptions.items()):
            place = f"{pool.place}/rank-{rank}.events.jsonl"
            _check_description(Fields(description, place, "events.form"), said, claim, place, findings)
    findings.all += part.problems
    findings.stop()


def check_clocks(claim: Claim, parts: list[Part], now: float) -> None:
    findings = Findings()
    if not _EARLIEST < claim.started < claim.finished <= now + 86_400:
        findings.add("events.clock", "manifest.json: times", f"from {claim.started} to {claim.finished}")
    begin = claim.started
    for part in parts:
        for pool in part.pools:
            if pool.first < begin - _SLACK_SECONDS or pool.last > claim.finished + _SLACK_SECONDS:
                findings.add("events.clock", pool.place, f"ran from {pool.first} to {pool.last}, which is outside the run")
        if part.name == "run":  # what is drawn from it can only run after it
            begin = max(pool.last for pool in part.pools)
    findings.stop()


def judge(claim: Claim, profile: Profile, part: Part) -> dict[str, Outcome]:
    """The outcome of every test of the profile, from the events alone."""
    findings = Findings()
    day = datetime.fromtimestamp(claim.started, timezone.utc).date()
    waivers = read_waivers(claim.waivers, day, claim.implementation.text("version"), findings)
    findings.stop()
    _check_coverage(profile, part, findings)
    findings.all += part.unfinished
    findings.stop()
    collected = _collect(profile, part, findings)
    outcomes, misfits = {}, {}
    for test_id, repetitions in collected.items():
        outcomes[test_id], misfits[test_id] = _decide(profile, test_id, repetitions, waivers)
    for test_id, outcome in outcomes.items():
        _note_red(test_id, outcome, misfits[test_id], findings)
    findings.stop()
    return outcomes


def check_results(results: Fields, outcomes: dict[str, Outcome]) -> None:
    """That results.json says the same."""
    findings, place, seen = Findings(), "run/results.json", set()
    for entry in results.take("tests", list):
        test = Fields(entry, f"{place}: tests", "member.form")
        name, verdict = test.text("id"), test.text("verdict")
        if name in seen or name not in outcomes:
            findings.add("test.repeated" if name in seen else "test.surplus", f"{place}: {name}", "is not expected there")
        elif outcomes[name].verdict != verdict:
            unlisted = verdict == "waived"
            findings.add("waiver.unlisted" if unlisted else "verdict.differs", f"{place}: {name}",
                         f"says {verdict}, the events give {outcomes[name].verdict}")
        seen.add(name)
    for name in sorted(set(outcomes) - seen):
        findings.add("test.missing", f"{place}: {name}", "has no result there")
    findings.stop()


def _options(command: str, place: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Rejected(Finding("member.form", f"{place}: run.command", str(error))) from None
    return [word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)]


def _check_pool(pool: Pool, said: Fields, profile: Profile, findings: Findings) -> None:
    place = f"{pool.place}/plan.json"
    if pool.mutant is not None:
        findings.add("implementation.mutant", place, f"runs the mutant {pool.mutant!r}")
    if pool.device != said.text("device"):
        findings.add("device.differs", place, f"{pool.device!r}, the manifest says {said.text('device')!r}")
    same = (pool.label, pool.source, pool.options) == (said.text("label"), said.text("source"), said.take("options", dict))
    if not same and pool.mutant is None:
        findings.add("implementation.differs", place, f"runs {pool.label!r}, the manifest names {said.text('label')!r}")


def _check_description(description: Fields, said: Fields, claim: Claim, place: str, findings: Findings) -> None:
    for key in ("name", "version"):
        if description.text(key) != said.text(key):
            findings.add("implementation.differs", place, f"{key} {description.text(key)!r}, the manifest says {said.text(key)!r}")
    if sorted(description.texts("capabilities")) != sorted(said.texts("capabilities")):
        findings.add("implementation.differs", place, "declares other capabilities than the manifest")
    for patch in description.take("patches", list):
        target = Fields(patch, place, "events.form").text("target")
        if target not in claim.patches:
            findings.add("patch.unlisted", place, f"patches {target!r}")


def _check_coverage(profile: Profile, part: Part, findings: Findings) -> None:
    count: dict[tuple[str, int, int], int] = {}
    for pool in part.pools:
        for index in pool.started:
            planned = pool.planned[index]
            test = profile.tests.get(planned.test)
            if test is None or planned.phase >= len(test.worlds):
                findings.add("test.surplus", f"{pool.place}: {planned.test}", "is not on the list of the profile")
                continue
            if test.worlds[planned.phase] != pool.world:
                findings.add("world.differs", f"{pool.place}: {planned.test}",
                             f"ran on {pool.world} ranks, the list says {test.worlds[planned.phase]}")
            key = (planned.test, planned.repetition, planned.phase)
            count[key] = count.get(key, 0) + 1
    for (test, repetition, phase), times in count.items():
        if times > 1 or repetition > REPETITIONS:
            findings.add("test.repeated", test, f"repetition {repetition}, phase {phase + 1}: {times} times")
    for test in profile.tests:
        for repetition in range(1, REPETITIONS + 1):
            if (test, repetition, 0) not in count:
                findings.add("test.missing", test, f"repetition {repetition} was not run")


def _collect(profile: Profile, part: Part, findings: Findings) -> dict[str, dict[int, dict[int, Outcome]]]:
    """By test, repetition and phase."""
    collected: dict[str, dict[int, dict[int, Outcome]]] = {test: {} for test in profile.tests}
    for pool in part.pools:
        for index in pool.started:
            planned = pool.planned[index]
            test, ranks = profile.tests[planned.test], reports_of(pool, index)
            for check in sorted({check for rank in ranks for check in rank.limited}):
                if f"{test.function} {check}" not in profile.limited:
                    findings.add("device.limited", f"{pool.place}: {planned.test}", f"check {check}")
            outcome = combine(test, planned.phase, ranks)
            collected[planned.test].setdefault(planned.repetition, {})[planned.phase] = outcome
    return collected


def _decide(profile: Profile, test_id: str, repetitions: dict[int, dict[int, Outcome]], waivers: list[Waiver]):
    test, decided, misfit = profile.tests[test_id], [], ""
    for _, phases in sorted(repetitions.items()):
        outcome = as_level(test, of_phases(test, [phases[number] for number in sorted(phases)]))
        if test.not_applicable != (outcome.verdict == "not_applicable") and outcome.verdict in ("pass", "not_applicable"):
            outcome = Outcome("harness_error", f"{outcome.verdict}, the list says otherwise")
        outcome, other = apply_waivers(waivers, test_id, outcome)
        misfit = misfit or other
        decided.append(outcome)
    return of_repetitions(decided), misfit


def _note_red(test: str, outcome: Outcome, misfit: str, findings: Findings) -> None:
    if outcome.flaky:
        findings.add("verdict.flaky", test, outcome.reason)
    elif misfit:
        findings.add("waiver.misfit", test, misfit)
    elif outcome.verdict not in GREEN:
        findings.add("verdict.red", test, f"{outcome.verdict}: {outcome.reason}")
