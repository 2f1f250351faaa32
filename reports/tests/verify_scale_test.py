"""The largest profile: how long its bundle takes to verify, and how large it is. Every rank of every test passes."""
import json
import os
import subprocess
import sys
from pathlib import Path

import example_bundle as example
from shardcts_verify import profiles
from shardcts_verify.archive import InMemory, write_archive
from shardcts_verify.part import read_part
from shardcts_verify.verdicts import Outcome
from shardcts_verify.verify import event_hashes

REPORTS = Path(__file__).resolve().parents[1]
CPU_SECONDS, MEMORY_BYTES, BUNDLE_BYTES = 10, 500 << 20, 30 << 20


def report_of(test: profiles.Test, phase: int, rank: int, index: int, failed: str | None) -> dict:
    verdict = "not_applicable" if test.not_applicable else "pass"
    checks = {check.id: {"evaluated": 12, "strict": 6, "failed": 0} for check in test.checks_of(phase) if check.wants(rank)}
    event = {"event": "test_finished", "test": test.id, "index": index, "verdict": verdict, "reason": "", "seconds": 0.361001627,
             "operations": 2, "checks": checks, "device_limited": {}, "failures": []}
    if failed in checks:
        example.fail(event, rank, failed, "expected 1, actual 2")
    return event


def add_pool(members: dict, part: str, folder: str, implementation: dict, world: int, entries: list, start: float) -> None:
    """entries: test, repetition, phase, the check that fails."""
    place = f"{part}/runs/{folder}/world-{world}/pool-0"
    phases = [{"phase": phase + 1} if test.has_phases else None for test, _, phase, _ in entries]
    plan = {"implementation": implementation, "world_size": world, "seed": profiles.SEED, "trace": profiles.TRACE, "phases": phases,
            "test_timeout_seconds": profiles.TEST_TIMEOUT_SECONDS, "tests": [test.id for test, *_ in entries],
            "recordings": [example.recording_name(test.id, repetition) for test, repetition, *_ in entries]}
    members[f"{place}/plan.json"] = json.dumps(plan).encode()
    for rank in range(world):
        events = [{"event": "rank_started", "world_size": world}, {"event": "pool_ready", "implementation": DESCRIPTION}]
        for index, (test, _, phase, failed) in enumerate(entries):
            events += [{"event": "test_started", "test": test.id, "index": index}, report_of(test, phase, rank, index, failed)]
        events.append({"event": "pool_finished"})
        members[f"{place}/rank-{rank}.events.jsonl"] = example.lines(
            *({"event": event.pop("event"), "rank": rank, "time": start + number * 1e-4, **event} for number, event in enumerate(events)))


DESCRIPTION = {"name": "reference", "version": "0.1.0", "capabilities": [], "patches": []}


def implementation_of(mutant: str | None = None) -> dict:
    label = f"reference+mutant={mutant}" if mutant else "reference"
    return {"label": label, "source": "reference", "options": {}, "device": "cpu", "mutant": mutant}


def members_of(profile: profiles.Profile) -> dict[str, bytes]:
    members = {"statement.toml": example.STATEMENT}
    worlds: dict[int, list] = {}
    for repetition in range(1, profiles.REPETITIONS + 1):
        for test in profile.tests.values():
            for phase, world in enumerate(test.worlds):
                worlds.setdefault(world, []).append((test, repetition, phase, None))
    for world, entries in worlds.items():
        add_pool(members, "run", "reference", implementation_of(), world, entries, example.START + 1)
    filler = "what the suite says of the test, its checks and its ranks; " * 80
    results = {"complete": True, "implementations": [{"label": "reference"}],
               "run": {"command": "shardcts run", "seed": profiles.SEED, "repeat": profiles.REPETITIONS, "pool": "shared", "load_with": None,
                       "require_should": False, "require": profile.capabilities, "suite_commit": example.COMMIT},
               "tests": [{"id": test.id, "verdict": "not_applicable" if test.not_applicable else "pass", "rest": filler}
                         for test in profile.tests.values()]}
    return members | {"run/results.json": json.dumps(results).encode(), "canaries/results.json": b"{}", "oracle/results.json": b"{}"}


def bundle_of(profile: profiles.Profile, path: Path) -> None:
    members = members_of(profile)
    part = read_part(InMemory(members), "run")
    outcomes = {test.id: Outcome("not_applicable" if test.not_applicable else "pass") for test in profile.tests.values()}
    seed = profiles.seed_of(profile, example.STATEMENT, event_hashes({name: example.sha256(data) for name, data in members.items()}))
    drawn = profiles.draw_canaries(profile, seed, {name for name, outcome in outcomes.items() if outcome.verdict == "pass"})
    for name in ("canaries", "oracle"):
        for mutant, canaries in ((None, drawn), *((canary.mutant, [canary]) for canary in drawn)):
            for world in {profile.tests[canary.test].worlds[0] for canary in canaries}:
                entries = [(profile.tests[canary.test], 1, 0, canary.checks[0] if mutant else None) for canary in canaries
                           if profile.tests[canary.test].worlds[0] == world]
                add_pool(members, name, f"reference{'+mutant=' + mutant if mutant else ''}", implementation_of(mutant), world, entries,
                         example.START + 20)
    example.add_recordings(members, profile, part, outcomes, seed, label="reference")
    document = example.manifest_of(profile, seed, drawn) | {"waivers": [], "patches": [], "implementation": {
        **DESCRIPTION, "label": "reference", "source": "reference", "device": "cpu", "options": {}}}
    write_archive(path, example.seal(members, document))


def test_the_largest_profile_is_verified_in_time_and_memory(tmp_path):
    bundle_of(profiles.read_profile("extended", "1.0", "full", "cpu"), tmp_path / "large.zip")
    assert (tmp_path / "large.zip").stat().st_size < BUNDLE_BYTES
    done = subprocess.Popen([sys.executable, "-m", "shardcts_verify", tmp_path / "large.zip"], stdout=subprocess.PIPE, text=True,
                            env=os.environ | {"PYTHONPATH": str(REPORTS / "verify")})
    said = done.stdout.read()
    _, status, usage = os.wait4(done.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, said
    assert said.endswith("\nconforms\n")
    print(f"{usage.ru_utime + usage.ru_stime:.1f} s, {usage.ru_maxrss >> 10} MiB, {(tmp_path / 'large.zip').stat().st_size >> 10} KiB")
    assert usage.ru_utime + usage.ru_stime < CPU_SECONDS
    assert usage.ru_maxrss * 1024 < MEMORY_BYTES
