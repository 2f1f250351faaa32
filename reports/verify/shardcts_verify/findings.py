"""What can be wrong with a bundle: one name for each, and what it means. docs/certification.md has the same table."""
from dataclasses import dataclass

MEANINGS = {
    # The file itself. Nothing of it is opened before these hold.
    "archive.unreadable": "the bundle is no regular file that can be read",
    "archive.too-large": "the file, a member, all members together or their number exceed the limits",
    "archive.form": "not the one form that certify writes: comments, gaps, extra fields, times, flags, order",
    "archive.path": "a member's name is absolute, leaves the bundle, or has characters that none of ours has",
    "archive.link": "a member is a link, a folder or a device",
    "archive.repeated": "two members have one name",
    "archive.ratio": "a member unpacks to far more than its packed bytes can honestly hold",
    "archive.damaged": "a member does not unpack to the bytes that it announces",
    # The manifest and what it lists.
    "manifest.missing": "there is no manifest.json, or not its hash",
    "manifest.form": "manifest.json is not what certify writes",
    "manifest.hash": "manifest.json does not have the hash that stands beside it",
    "manifest.version": "the form of the bundle is one that this verifier does not know",
    "member.missing": "a file that the manifest lists, or that every bundle has, is not there",
    "member.unknown": "a file that no bundle has, or that the manifest does not list",
    "member.hash": "a file has other bytes than the manifest says",
    "member.form": "a file of the bundle is not of its format",
    # What was claimed, with which suite.
    "statement.form": "statement.toml lacks a field, has an unknown one, or an empty one",
    "profile.unknown": "the verifier has no frozen list of this name, version, level or device",
    "profile.withdrawn": "this version of the lists was withdrawn",
    "profile.hash": "the bundle was made with another list than the verifier's own",
    "suite.commit": "the commit of the suite is not a commit",
    "suite.dirty-tree": "the suite was built from a tree with local changes",
    "suite.binaries": "the hashes of the programs are missing, malformed, or changed during the run",
    "environment.variable": "an environment variable that is not on the allow-list is in the bundle",
    # How it was run.
    "option.forbidden": "the command has an option that a certified run must not have",
    "option.value": "seed, deadline, repetitions, recordings, capabilities or pool are not those of every certified run",
    "implementation.differs": "a pool ran another implementation, version, patches or capabilities than the bundle claims",
    "implementation.mutant": "the implementation under test is a mutant",
    "device.differs": "a pool ran on another device than the bundle claims",
    "device.limited": "a check is declared to be impossible on a device where the profile asks for it",
    "world.differs": "the ranks of a pool are not those of its world size",
    "patch.unlisted": "the implementation patches what the manifest does not list",
    # The events.
    "events.form": "a line of an event file is not an event",
    "events.order": "the events of a rank are not in the order in which a rank writes them",
    "events.clock": "times run backwards, or lie outside the run",
    "events.unfinished": "a rank has begun a test and not ended it, or its pool did not end",
    "test.missing": "a test of the list, or a repetition, was not run",
    "test.surplus": "a test that is not on the list was run",
    "test.repeated": "a test was run more often than every certified run does",
    "verdict.red": "the recomputed verdict of a test is not green",
    "verdict.flaky": "the repetitions of a test have different verdicts",
    "verdict.differs": "results.json says another verdict than the events give",
    "results.incomplete": "results.json says that the run was cut short",
    "results.differs": "results.json describes another run than the manifest",
    "waiver.unlisted": "a waived test has no waiver in the manifest",
    "waiver.expired": "a waiver was no longer valid on the day of the run",
    "waiver.too-long": "a waiver is valid for longer than a release",
    "waiver.link": "a waiver has no link to its evidence",
    "waiver.misfit": "a test fails in another way than its waiver says",
    # Proof that the run could have failed.
    "canary.not-drawn": "the mutants of the run are not those that its seed draws",
    "canary.missing": "a drawn mutant was not run",
    "canary.alive": "a mutant passed the test that must kill it",
    "canary.other-check": "a mutant failed, but not in a check that must kill it",
    "canary.base": "the implementation does not pass the test of a canary",
    "oracle.red": "the reference does not pass its self-check, or its mutants live",
    # Recordings.
    "recording.missing": "a test has no digest of its recording, or a drawn one is not in the bundle",
    "recording.surplus": "there is a digest of a recording that no test made",
    "recording.digest": "a recording in the bundle does not have its digest",
    "recording.operations": "a recording has another number of operations than its rank reported",
    "recording.header": "a recording says that it is of another test, rank, world, seed or implementation",
    # Who says so.
    "signature.missing": "a signature is asked for, and there is none",
    "signature.bad": "the signature is not of this file, or not by the one who is asked for",
    "signature.tool": "ssh-keygen, which checks signatures, is not there",
}


@dataclass(frozen=True)
class Finding:
    name: str    # of MEANINGS
    place: str   # file, line, test: where to look
    detail: str  # one line

    def __str__(self) -> str:
        return f"{self.name}: {self.place}: {self.detail}"


class Rejected(Exception):
    """Ends the verification: what would follow relies on what does not hold."""

    def __init__(self, *findings: Finding):
        super().__init__(str(findings[0]))
        self.findings = findings


def reject(name: str, place: str, detail: str):
    assert name in MEANINGS, name
    raise Rejected(Finding(name, one_line(place), one_line(detail)))


def one_line(text: object, limit: int = 300) -> str:
    """Texts of a bundle are foreign: one line, printable, bounded."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return line if len(line) <= limit else line[:limit - 1] + "…"


class Findings:
    """Those of one stage."""

    def __init__(self):
        self.all: list[Finding] = []

    def add(self, name: str, place: str, detail: str) -> None:
        assert name in MEANINGS, name
        self.all.append(Finding(name, one_line(place), one_line(detail)))

    def stop(self) -> None:
        """Ends the verification if there is one."""
        if self.all:
            raise Rejected(*self.all)
