"""The stages of a verification, each of which relies on those before: the first stage with a finding ends it."""
import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .archive import Archive
from .canaries import check_canaries
from .findings import Finding, Findings, Rejected
from .judge import check_clocks, check_identity, check_options, check_results, judge
from .manifest import PARTS, STATEMENT, check_origin, check_statement, read_claim, read_manifest
from .part import read_part
from .profiles import Profile, read_profile, seed_of
from .recordings import check_recordings

EVENTS = ".events.jsonl"


@dataclass
class Verified:
    """What came of it: nothing in `findings` means that the bundle shows conformance."""
    sha256: str = ""
    title: str = ""
    claim: str = ""
    product: dict[str, str] = field(default_factory=dict)   # of the statement: name, version, vendor
    profile: Profile | None = None
    counts: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)  # test -> verdict
    waived: list[str] = field(default_factory=list)
    patches: list[str] = field(default_factory=list)  # of the software under test, by the implementation itself
    canaries: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def event_hashes(members: dict[str, str]) -> dict[str, str]:
    """Of the main run; `members`: name -> SHA-256."""
    return {name: digest for name, digest in members.items() if name.startswith("run/runs/") and name.endswith(EVENTS)}


def verify(bundle: Path, now: float | None = None) -> Verified:
    result = Verified()
    try:
        _verify(bundle, result, time.time() if now is None else now)
    except Rejected as rejected:
        result.findings = list(rejected.findings)
    return result


def _verify(bundle: Path, result: Verified, now: float) -> None:
    archive = Archive(bundle)
    result.sha256 = hashlib.sha256(archive.data).hexdigest()
    manifest = read_manifest(archive)
    statement = archive.read(STATEMENT)
    product = check_statement(statement)["product"]
    check_origin(manifest)
    claim = read_claim(manifest)
    profile = read_profile(claim.profile, claim.conformance, claim.level, claim.device)
    _require_list(profile, claim.list_sha256)
    result.product, result.profile = product, profile
    result.title = f"{product['vendor']}: {product['name']} {product['version']}"
    emulated = " (emulated)" if claim.implementation.text("device") == "hostdev" else ""
    result.claim = f"{profile.name}@{profile.version}, level {profile.level}, device {profile.device}{emulated}"
    parts = {name: read_part(archive, name) for name in PARTS}
    results = check_options(archive, claim, profile, manifest.object("suite").text("commit"), parts["run"])
    check_identity(claim, profile, parts["run"])
    check_clocks(claim, list(parts.values()), now)
    outcomes = judge(claim, profile, parts["run"])
    check_results(results, outcomes)
    members = manifest.object("members")
    seed = seed_of(profile, statement, event_hashes({name: members.text(name) for name in members.keys()}))
    passed = {name for name, outcome in outcomes.items() if outcome.verdict == "pass"}
    drawn = check_canaries(claim, profile, seed, passed, parts)
    check_recordings(archive, profile, parts["run"], outcomes, seed, claim.implementation.text("label"))
    result.outcomes = {name: outcome.verdict for name, outcome in outcomes.items()}
    result.counts = dict(Counter(outcome.verdict for outcome in outcomes.values()))
    result.waived = sorted(name for name, outcome in outcomes.items() if outcome.verdict == "waived")
    result.patches = sorted(claim.patches)
    result.canaries = [canary.mutant for canary in drawn]


def _require_list(profile: Profile, claimed: str) -> None:
    findings = Findings()
    if claimed != profile.sha256:
        findings.add("profile.hash", "manifest.json: profile", f"{claimed}, the verifier's own list has {profile.sha256}")
    findings.stop()
