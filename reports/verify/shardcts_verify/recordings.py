"""The recordings of the main run: a digest of each, and the bytes of a few that are drawn after the run."""
import hashlib
import re

from .archive import Archive
from .documents import Fields, parse_json
from .findings import Findings
from .manifest import RECORDINGS
from .part import Part
from .profiles import SEED, Profile, draw_samples
from .verdicts import Outcome

_LONGEST_NAME, _HASH_DIGITS = 150, 16


def folder_name(text: str) -> str:
    """As the suite names the folder of a test (docs/formats.md)."""
    name = re.sub(rb"[^A-Za-z0-9._=+-]", b"_", text.encode()).decode()
    if name in ("", ".", ".."):
        return "_" * (len(name) + 1)
    if len(name) <= _LONGEST_NAME:
        return name
    hashed = 0xCBF29CE484222325
    for byte in text.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 % 2**64
    return f"{name[:_LONGEST_NAME - _HASH_DIGITS - 1]}_{hashed:016x}"


def expected_recordings(profile: Profile, part: Part) -> dict[str, tuple[str, int, int, int]]:
    """File -> test, world, rank and operations, of the first repetitions, which are kept."""
    expected = {}
    for pool in part.pools:
        for index, ranks in pool.reports.items():
            planned = pool.planned[index]
            if planned.repetition == 1:
                folder = folder_name(planned.recording)
                if profile.tests[planned.test].has_phases:
                    folder += f"/phase-{planned.phase + 1}"
                for rank, report in ranks.items():
                    if report.verdict == "not_applicable":  # no operation was run
                        continue
                    expected[f"{folder}/rank-{rank}.jsonl"] = (planned.test, pool.world, rank, report.operations)
    return expected


def sampled_folders(profile: Profile, part: Part, outcomes: dict[str, Outcome], seed: str) -> set[str]:
    """Of tests that pass: the others may have recordings that were cut short."""
    folders = {name.rpartition("/")[0] for name, (test, *_) in expected_recordings(profile, part).items()
               if outcomes[test].verdict == "pass"}
    return set(draw_samples(seed, sorted(folders)))


def check_recordings(archive: Archive, profile: Profile, part: Part, outcomes: dict[str, Outcome], seed: str, label: str) -> None:
    findings, expected = Findings(), expected_recordings(profile, part)
    digests = Fields(parse_json(archive.read(RECORDINGS), RECORDINGS), RECORDINGS, "member.form")
    for name in sorted(set(expected) - set(digests.keys())):
        findings.add("recording.missing", f"{RECORDINGS}: {name}", "has no digest")
    for name in sorted(set(digests.keys()) - set(expected)):
        findings.add("recording.surplus", f"{RECORDINGS}: {name}", "is of no test of the run")
    findings.stop()
    drawn = sampled_folders(profile, part, outcomes, seed)
    wanted = {name for name in expected if name.rpartition("/")[0] in drawn}
    there = {name.removeprefix("recordings/") for name in archive.names if name.startswith("recordings/")}
    for name in sorted(wanted - there):
        findings.add("recording.missing", f"recordings/{name}", "is drawn, and not in the bundle")
    for name in sorted(there - wanted):
        findings.add("member.unknown", f"recordings/{name}", "is a recording that is not drawn")
    for name in sorted(wanted & there):
        _check_sample(archive.read(f"recordings/{name}"), f"recordings/{name}", digests.text(name), expected[name], label, findings)
    findings.stop()


def _check_sample(data: bytes, place: str, digest: str, expected: tuple, label: str, findings: Findings) -> None:
    test, world, rank, operations = expected
    if hashlib.sha256(data).hexdigest() != digest:
        findings.add("recording.digest", place, f"does not have the digest of {RECORDINGS}")
        return
    lines = data.splitlines()
    if len(lines) != operations + 1:
        findings.add("recording.operations", place, f"{len(lines) - 1} operations, the rank reported {operations}")
        return
    header = Fields(parse_json(lines[0], f"{place}:1"), f"{place}:1", "member.form")
    found = [header.take(key, (str, int)) for key in ("test", "world_size", "rank", "seed", "implementation")]
    if found != [test, world, rank, SEED, label]:
        findings.add("recording.header", place, f"says {found}")
