"""A small good bundle made by code, with lists of its own: every kind of test that a list can have.

What the runs of a real implementation look like is tested where there is one (harness/system_tests/certification_test.py).
"""
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from shardcts_verify import manifest, profiles, recordings
from shardcts_verify.archive import InMemory, write_archive
from shardcts_verify.documents import Fields
from shardcts_verify.judge import judge
from shardcts_verify.part import read_part
from shardcts_verify.verify import event_hashes

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LABEL = "python:mine:Mine,backend=fast"
OPTIONS = {"backend": "fast"}
START = 1_700_000_000.0
WAIVED = "alpha/T.test_waived/world_size=2"
STATEMENT = b"""[product]
name = "Mine"
version = "1.2"
vendor = "Example"
[contact]
role = "release team"
address = "conformance@example.org"
[reproduce]
hardware = "two cores"
software = "Debian 12, PyTorch 2.13.0"
commands = "shardcts certify --impl python:mine:Mine"
"""

GROUPS = [
    {"function": "test_a", "level": None, "capabilities": ["core"], "checks": [["C1", "all"], ["C2", "rank0"]]},
    {"function": "test_b", "level": None, "capabilities": ["core"], "checks": [["C1", "others"], ["C2", [1]]]},
    {"function": "test_limited", "level": None, "capabilities": ["core"], "checks": [["C1", "all"], ["C9", "all"]]},
    {"function": "GE1", "level": "SHOULD", "capabilities": ["core"], "checks": [["GE1", "all"]]},
    {"function": "RS1", "level": "MUST", "capabilities": ["storage"], "checks": [["S", "all", 1], ["RS1", "all"]]},
    {"function": "test_skipped", "level": None, "capabilities": ["core"], "checks": [["C1", "all"]]},
    {"function": "test_waived", "level": None, "capabilities": ["core"], "checks": [["C1", "all"]]}]

TESTS = [["alpha/T.test_a/world_size=1", 1, 0], ["alpha/T.test_a/world_size=2", 2, 0], ["alpha/T.test_b/world_size=2", 2, 1],
         ["alpha/T.test_limited/world_size=2", 2, 2], ["alpha/GE1/world_size=2", 2, 3], ["alpha/RS1/save=1,load=2", [1, 2], 4],
         ["alpha/T.test_skipped/world_size=2", 2, 5, 1], [WAIVED, 2, 6], ["alpha/T.test_a/world_size=8", 8, 0]]

CANARIES = [[f"mutant_{number}", f"alpha/T.test_{name}/world_size=2", [check]]
            for number, (name, check) in enumerate([("a", "C1"), ("a", "C2"), ("b", "C1"), ("b", "C2")])]

WAIVER = {"place": "mine.toml:1", "test": "alpha/T.test_waived/*", "implementation": "python:mine:*", "device": "cpu",
          "verdict": "fail", "checks": ["C1"], "reason_contains": "too small", "owner": "team", "reason": "rounding",
          "evidence": "https://example.org/issues/7", "expires": "2024-03-01", "review_version": None, "versions": None}


def write_lists(folder: Path) -> None:
    """conformance/ with version 1.0 and the profile alpha, and a withdrawn one."""
    document = {"conformance": "1.0", "profile": "alpha", "title": "Alpha", "levels": {"core": 4, "full": 8},
                "capabilities": ["core", "storage"], "rules": ["GE1", "RS1"], "limited_on_cpu": ["test_limited C9"],
                "inventory": "", "groups": GROUPS, "canaries": CANARIES, "tests": TESTS}
    text = ["# Lists of a test"]
    for version in ("0.9", "1.0"):
        (folder / version).mkdir(parents=True)
        data = json.dumps(document | {"conformance": version})
        (folder / version / "alpha.json").write_text(data)
        text.append(f'[[version]]\nname = "{version}"\n')
        text += ['withdrawn = "a test was wrong"\n'] if version == "0.9" else []
        text.append(f'[version.lists]\nalpha = "{hashlib.sha256(data.encode()).hexdigest()}"\n')
    (folder / "versions.toml").write_text("\n".join(text))


@dataclass
class Member:
    """What the maker of an event file needs."""
    label: str
    source: str
    mutant: str | None
    options: dict
    world: int
    entries: list[tuple[str, int, int]]  # test, repetition, phase from 0
    start: float


def lines(*events: dict) -> bytes:
    return "".join(json.dumps(event) + "\n" for event in events).encode()


def recording_name(test: str, repetition: int) -> str:
    return test if repetition == 1 else f"{test}+repetition={repetition}"


def plan_of(pool: Member) -> dict:
    phases = [{"phase": phase + 1, "role": "save", "folder": "/x"} if test == TESTS[5][0] else None for test, _, phase in pool.entries]
    return {"implementation": {"label": pool.label, "source": pool.source, "options": pool.options, "device": "cpu", "mutant": pool.mutant},
            "world_size": pool.world, "host": "a", "launched": False, "seed": profiles.SEED, "trace": profiles.TRACE,
            "test_timeout_seconds": profiles.TEST_TIMEOUT_SECONDS, "tests": [test for test, _, _ in pool.entries],
            "recordings": [recording_name(test, repetition) for test, repetition, _ in pool.entries], "phases": phases}


def finished(test: str, index: int, phase: int, rank: int, mutant: str | None) -> dict:
    """As a conforming rank reports it, or one that a mutant has broken."""
    row = next(row for row in TESTS if row[0] == test)
    has_phases, last = isinstance(row[1], list), len(row[1]) - 1 if isinstance(row[1], list) else 0
    checks = {}
    for check, ranks, *of_phase in GROUPS[row[2]]["checks"]:
        wanted = ranks == "all" or (rank == 0 if ranks == "rank0" else rank > 0 if ranks == "others" else rank in ranks)
        if wanted and (of_phase[0] - 1 if of_phase else last) == phase:
            checks[check] = {"evaluated": 3, "strict": 1, "failed": 0}
    event = {"event": "test_finished", "test": test, "index": index, "verdict": "pass", "reason": "", "seconds": 0.1,
             "operations": 2, "checks": checks, "device_limited": {}, "failures": []}
    if has_phases:
        event["phase"] = phase + 1
    if "test_limited" in test:
        checks.pop("C9")
        event["device_limited"] = {"C9": "needs an accelerator"}
    if "test_skipped" in test:
        event |= {"verdict": "not_applicable", "reason": "upstream returns early", "checks": {}}
    if test == WAIVED:
        fail(event, rank, "C1", "too small: 2")
    if mutant:
        check = next(row[2][0] for row in CANARIES if row[0] == mutant)
        if check in checks:
            fail(event, rank, check, "expected 1, actual 2")
    return event


def fail(event: dict, rank: int, check: str, message: str) -> None:
    event["verdict"], event["checks"][check] = "fail", {"evaluated": 3, "strict": 1, "failed": 1}
    event["failures"] = [{"rank": rank, "check": check, "message": message, "file": "a.cc", "line": 1, "operation": "x"}]


def events_of(pool: Member, rank: int) -> bytes:
    clock = iter(pool.start + 0.001 * number for number in range(100_000))
    describe = {"name": "mine", "version": "1.2", "capabilities": ["core", "storage"], "devices": ["cpu"],
                "patches": [{"target": "torch.x", "reason": "y"}], "notes": {}}
    events = [{"event": "rank_started", "pid": 1, "host": "a", "world_size": pool.world, "start": "warm"},
              {"event": "implementation_started"}, {"event": "pool_ready", "seconds": 0.1, "implementation": describe}]
    for index, (test, _, phase) in enumerate(pool.entries):
        events.append({"event": "test_started", "test": test, "index": index})
        events.append(finished(test, index, phase, rank, pool.mutant))
    events.append({"event": "pool_finished"})
    return lines(*({"event": event.pop("event"), "rank": rank, "time": next(clock), **event} for event in events))


def add_pool(members: dict[str, bytes], part: str, number: int, pool: Member) -> None:
    folder = f"{part}/runs/{recordings.folder_name(pool.label)}/world-{pool.world}/pool-{number}"
    members[f"{folder}/plan.json"] = json.dumps(plan_of(pool), indent=1).encode()
    for rank in range(pool.world):
        members[f"{folder}/rank-{rank}.events.jsonl"] = events_of(pool, rank)


def results_of(part: str, tests: list[str]) -> dict:
    verdicts = {row[0]: "not_applicable" if len(row) > 3 else "waived" if row[0] == WAIVED else "pass" for row in TESTS}
    return {"schema_version": 1, "complete": True,
            "run": {"command": f"build/shardcts run --impl {LABEL} --profile alpha@1.0 --level core --repeat 3 --seed 1234 --out x",
                    "seed": profiles.SEED, "suite_commit": COMMIT, "repeat": profiles.REPETITIONS, "pool": "shared",
                    "require": ["core", "storage"], "require_should": False, "load_with": None},
            "implementations": [{"label": LABEL}], "tests": [{"id": test, "verdict": verdicts[test]} for test in tests]}


def add_main_run(members: dict[str, bytes]) -> None:
    tests = [row[0] for row in TESTS if row[1] != 8]
    worlds = {1: [(tests[0], 0), (tests[5], 0)],
              2: [(test, 1 if test == tests[5] else 0) for test in tests[1:]]}
    for world, entries in worlds.items():
        planned = [(test, repetition, phase) for repetition in range(1, profiles.REPETITIONS + 1) for test, phase in entries]
        add_pool(members, "run", 0, Member(LABEL, "python:mine:Mine", None, OPTIONS, world, planned, START + 10))
    members["run/results.json"] = json.dumps(results_of("run", tests), indent=1).encode()


def add_recordings(members: dict[str, bytes], profile, part, outcomes, seed, label: str = LABEL) -> None:
    expected = recordings.expected_recordings(profile, part)
    texts = {}
    for name, (test, world, rank, operations) in expected.items():
        header = {"recording": 2, "contract": 1, "implementation": label, "test": test, "world_size": world, "rank": rank, "seed": 1234}
        texts[name] = lines(header, *({"step": step, "op": "a.b", "args": {}, "outcome": {"value": None}} for step in range(operations)))
    members["recordings.json"] = manifest.canonical({name: sha256(data) for name, data in texts.items()})
    drawn = recordings.sampled_folders(profile, part, outcomes, seed)
    members |= {f"recordings/{name}": data for name, data in texts.items() if name.rpartition("/")[0] in drawn}


def add_mutants(members: dict[str, bytes], part: str, label: str, source: str, options: dict, drawn, start: float) -> None:
    tests = sorted({canary.test for canary in drawn})
    add_pool(members, part, 0, Member(label, source, None, options, 2, [(test, 1, 0) for test in tests], start))
    for canary in drawn:
        name = f"{source}+mutant={canary.mutant}" + label.removeprefix(source)
        add_pool(members, part, 0, Member(name, source, canary.mutant, options, 2, [(canary.test, 1, 0)], start + 1))
    members[f"{part}/results.json"] = b"{}\n"


def manifest_of(profile, seed: str, drawn) -> dict:
    digest = "ab" * 32
    return {"format": manifest.FORMAT, "version": manifest.VERSION,
            "suite": {"version": "0.1.0", "commit": COMMIT, "binaries": {"shardcts": digest, "shardcts-rank": digest}},
            "profile": {"name": profile.name, "conformance": profile.version, "level": profile.level, "device": profile.device,
                        "sha256": profile.sha256},
            "implementation": {"label": LABEL, "source": "python:mine:Mine", "device": "cpu", "options": OPTIONS, "name": "mine",
                               "version": "1.2", "capabilities": ["core", "storage"], "notes": {}},
            "patches": [{"target": "torch.x", "reason": "y"}], "device": {"type": "cpu", "gpu": None},
            "environment": {"os": "Linux", "variables": {"OMP_NUM_THREADS": "1"}}, "waivers": [WAIVER],
            "times": {"started": START, "finished": START + 60}, "options": {"command": []},
            "canaries": {"seed": seed, "drawn": [canary.mutant for canary in drawn]}}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def seal(members: dict[str, bytes], document: dict) -> dict[str, bytes]:
    """With the manifest, which has the hash of each, and its own hash. As certify does it, and as a forger would."""
    text = manifest.canonical(document | {"members": {name: sha256(data) for name, data in members.items()}})
    return members | {manifest.MANIFEST: text, manifest.MANIFEST_HASH: f"{sha256(text)}\n".encode()}


def make_members() -> dict[str, bytes]:
    """Of a good bundle; profiles.CONFORMANCE must be write_lists' folder."""
    profile = profiles.read_profile("alpha", "1.0", "core", "cpu")
    members = {manifest.STATEMENT: STATEMENT}
    add_main_run(members)
    part = read_part(InMemory(members), "run")
    claim = manifest.read_claim(Fields(manifest_of(profile, "", []), "manifest.json", "manifest.form"))
    outcomes = judge(claim, profile, part)
    seed = profiles.seed_of(profile, STATEMENT, event_hashes({name: sha256(data) for name, data in members.items()}))
    drawn = profiles.draw_canaries(profile, seed, {name for name, outcome in outcomes.items() if outcome.verdict == "pass"})
    add_recordings(members, profile, part, outcomes, seed)
    add_mutants(members, "canaries", LABEL, "python:mine:Mine", OPTIONS, drawn, START + 20)
    add_mutants(members, "oracle", "reference", "reference", {}, drawn, START + 30)
    return seal(members, manifest_of(profile, seed, drawn))


def write_bundle(path: Path, members: dict[str, bytes]) -> Path:
    write_archive(path, members)
    return path
