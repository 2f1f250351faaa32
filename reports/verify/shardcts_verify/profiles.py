"""The verifier's own frozen lists: which tests a profile has, what each must evaluate, and which mutants it kills."""
import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .findings import reject

_HERE = Path(__file__).resolve().parent
# In an installation of the whole suite, share/shardcts/conformance; else in the package.
CONFORMANCE = next((folder for folder in (_HERE / "conformance", _HERE.parents[2] / "conformance")
                    if (folder / "versions.toml").exists()), _HERE / "conformance")

# What every certified run has in common.
SEED = 1234
REPETITIONS = 3
TEST_TIMEOUT_SECONDS = 60.0
TRACE = "digest"
CANARIES = 3
SAMPLES = 8


@dataclass(frozen=True)
class Check:
    id: str
    ranks: object  # "all", "rank0", "others" or a list
    phase: int | None

    def wants(self, rank: int) -> bool:
        if isinstance(self.ranks, list):
            return rank in self.ranks
        return self.ranks == "all" or (self.ranks == "rank0") == (rank == 0)


@dataclass(frozen=True)
class Test:
    id: str
    function: str
    level: str | None  # MUST or SHOULD of a rule
    checks: tuple[Check, ...]
    worlds: tuple[int, ...]  # one, or one for each phase
    has_phases: bool
    not_applicable: bool

    def checks_of(self, phase: int) -> list[Check]:
        last = len(self.worlds) - 1
        return [check for check in self.checks if (last if check.phase is None else check.phase - 1) == phase]


@dataclass(frozen=True)
class Canary:
    mutant: str
    test: str
    checks: tuple[str, ...]


@dataclass
class Profile:
    name: str
    version: str
    level: str
    device: str  # cpu or accelerator
    title: str
    sha256: str
    capabilities: list[str]
    limited: frozenset[str]  # "FUNCTION CHECK" that may be device-limited on this device
    tests: dict[str, Test] = field(default_factory=dict)
    canaries: list[Canary] = field(default_factory=list)


def versions() -> dict[str, dict]:
    file = CONFORMANCE / "versions.toml"
    if not file.is_file():
        raise RuntimeError(f"{file}: the lists of tests are missing; install shardcts-verify from a whole tree of ShardCTS")
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    return {version["name"]: version for version in document.get("version", [])}


def read_profile(name: str, version: str, level: str, device: str) -> Profile:
    """Raises Rejected for one that there is not, or that was withdrawn."""
    asked = f"{name}@{version}, level {level}, device {device}"
    known = versions().get(version)
    if known is None or name not in known["lists"]:
        reject("profile.unknown", "manifest.json: profile", f"{asked}: there is no such list")
    if "withdrawn" in known:
        reject("profile.withdrawn", "manifest.json: profile", f"{asked}: withdrawn: {known['withdrawn']}")
    text = (CONFORMANCE / version / f"{name}.json").read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    if digest != known["lists"][name]:
        reject("profile.hash", f"conformance/{version}/{name}.json", "the verifier's own list was changed")
    document = json.loads(text)
    if level not in document["levels"] or device not in ("cpu", "accelerator"):
        reject("profile.unknown", "manifest.json: profile", f"{asked}: there is no such level or device")
    tests = {test.id: test for test in map(lambda row: _test(row, document["groups"]), document["tests"])
             if max(test.worlds) <= document["levels"][level]}
    limited = frozenset(document["limited_on_cpu"] if device == "cpu" else [])
    canaries = [Canary(mutant, test, tuple(checks)) for mutant, test, checks in document["canaries"] if test in tests]
    return Profile(name, version, level, device, document["title"], digest, document["capabilities"], limited, tests, canaries)


def _test(row: list, groups: list[dict]) -> Test:
    group = groups[row[2]]
    worlds = tuple(row[1]) if isinstance(row[1], list) else (row[1],)
    checks = tuple(Check(check[0], check[1], check[2] if len(check) > 2 else None) for check in group["checks"])
    return Test(row[0], group["function"], group["level"], checks, worlds, isinstance(row[1], list), len(row) > 3)


def seed_of(profile: Profile, statement: bytes, event_hashes: dict[str, str]) -> str:
    """Of what is drawn after the run: it depends on what the run has written, so nobody knows it before."""
    text = [profile.sha256, profile.level, profile.device, hashlib.sha256(statement).hexdigest()]
    text += [f"{digest} {name}" for name, digest in sorted(event_hashes.items())]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def draw_canaries(profile: Profile, seed: str, passed: set[str]) -> list[Canary]:
    """Of those whose test the implementation itself passes."""
    eligible = [canary for canary in profile.canaries if canary.test in passed]
    return sorted(eligible, key=lambda canary: _rank(seed, "canary", canary.mutant))[:CANARIES]


def draw_samples(seed: str, recordings: list[str]) -> list[str]:
    """Folders of recordings whose bytes are in the bundle."""
    return sorted(sorted(recordings, key=lambda name: _rank(seed, "recording", name))[:SAMPLES])


def _rank(seed: str, kind: str, name: str) -> str:
    return hashlib.sha256(f"{seed}\n{kind}\n{name}".encode()).hexdigest()
