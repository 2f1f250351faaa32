"""What a forger, a careless vendor or a broken disk may do to a good bundle, and the one finding that each must give.

All are sealed again with right hashes; bad_archives.py has what is done to a sealed file. docs/certification.md has the
table of both.
"""
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import example_bundle as example
from shardcts_verify import manifest
from shardcts_verify.archive import write_archive

RUN2 = "run/runs/python_mine_Mine_backend=fast/world-2/pool-0"
RUN1 = "run/runs/python_mine_Mine_backend=fast/world-1/pool-0"
FIRST = "alpha/T.test_a/world_size=2"


@dataclass
class Bundle:
    """An opened one: its members but the manifest, and the manifest without their hashes."""
    members: dict[str, bytes]
    document: dict

    def edit_events(self, rank: int, change: Callable[[list[dict]], list[dict] | None], pool: str = RUN2) -> None:
        name = f"{pool}/rank-{rank}.events.jsonl"
        events = [json.loads(line) for line in self.members[name].splitlines()]
        changed = change(events)
        self.members[name] = example.lines(*(events if changed is None else changed))

    def edit_json(self, name: str, change: Callable[[dict], None]) -> None:
        document = json.loads(self.members[name])
        change(document)
        self.members[name] = json.dumps(document, indent=1).encode()

    def pool_of(self, part: str, text: str) -> str:
        """The folder of the pool whose label has this text."""
        return next(name.removesuffix("/plan.json") for name in self.members
                    if name.startswith(f"{part}/runs/") and name.endswith("plan.json") and text in name)


FORGED: dict[str, tuple[str, Callable[[Bundle], None]]] = {}


def forged(finding: str, what: str):
    def register(change):
        assert what not in FORGED, what
        FORGED[what] = (finding, change)
        return change
    return register


def open_bundle(members: dict[str, bytes]) -> Bundle:
    document = json.loads(members[manifest.MANIFEST])
    document.pop("members")
    return Bundle({name: data for name, data in members.items() if name not in (manifest.MANIFEST, manifest.MANIFEST_HASH)}, document)


def forge(members: dict[str, bytes], what: str, path: Path) -> Path:
    bundle = open_bundle(copy.deepcopy(members))
    FORGED[what][1](bundle)
    write_archive(path, example.seal(bundle.members, bundle.document))
    return path


# The manifest's claims: path of the field, new value.
CLAIMS = [
    ("manifest.form", "an unknown field in the manifest", ("signed",), True),
    ("manifest.form", "a profile without a level", ("profile", "level"), None),
    ("manifest.form", "a number in place of a text", ("profile", "name"), 7),
    ("manifest.form", "a waiver of a hang", ("waivers", 0, "verdict"), "hang"),
    ("manifest.form", "a waiver that says nothing of the failure", ("waivers", 0), example.WAIVER | {"checks": [], "reason_contains": None}),
    ("manifest.version", "the form of a later version", ("version",), 2),
    ("manifest.version", "another kind of file", ("format",), "holiday pictures"),
    ("profile.unknown", "a profile that there is not", ("profile", "name"), "beta"),
    ("profile.unknown", "a version that there is not", ("profile", "conformance"), "7.0"),
    ("profile.unknown", "a level that there is not", ("profile", "level"), "tiny"),
    ("profile.unknown", "a device that there is not", ("profile", "device"), "any"),
    ("profile.withdrawn", "a version that was withdrawn", ("profile", "conformance"), "0.9"),
    ("profile.hash", "the hash of another list", ("profile", "sha256"), "00" * 32),
    ("suite.commit", "no commit", ("suite", "commit"), ""),
    ("suite.commit", "a commit that is none", ("suite", "commit"), "main"),
    ("suite.dirty-tree", "a tree with local changes", ("suite", "commit"), f"{example.COMMIT}-dirty"),
    ("suite.binaries", "no hash of the rank's program", ("suite", "binaries"), {"shardcts": "ab" * 32}),
    ("suite.binaries", "a hash that is none", ("suite", "binaries", "shardcts"), "unknown"),
    ("environment.variable", "a variable that is not on the allow-list", ("environment", "variables", "API_KEY"), "x"),
    ("results.differs", "another commit than that of the run", ("suite", "commit"), "f" * 40),
    ("device.differs", "a CPU sold as an accelerator", ("profile", "device"), "accelerator"),
    ("device.differs", "another device than that of the pools", ("implementation", "device"), "cuda"),
    ("implementation.differs", "another version than the ranks say", ("implementation", "version"), "1.3"),
    ("implementation.differs", "another name than the ranks say", ("implementation", "name"), "yours"),
    ("implementation.differs", "a capability more than the ranks say", ("implementation", "capabilities"), ["core", "storage", "tp"]),
    ("implementation.differs", "other options than those of the pools", ("implementation", "options"), {}),
    ("patch.unlisted", "a patch that the manifest does not list", ("patches",), []),
    ("results.differs", "another label than that of the results", ("implementation", "label"), "python:mine:Mine"),
    ("events.clock", "a run that ends before it begins", ("times", "finished"), example.START - 1),
    ("events.clock", "a run before there was time", ("times", "started"), -1e300),
    ("events.clock", "a run in the future", ("times", "finished"), 9e9),
    ("events.clock", "a run that begins after its events", ("times", "started"), example.START + 20),
    ("waiver.expired", "a waiver that had expired", ("waivers", 0, "expires"), "2023-11-01"),
    ("waiver.expired", "a waiver of an earlier version", ("waivers", 0), example.WAIVER | {"versions": "<1.2"}),
    ("waiver.expired", "a waiver that had to be looked at again", ("waivers", 0), example.WAIVER | {"review_version": "1.2"}),
    ("waiver.too-long", "a waiver for ten years", ("waivers", 0, "expires"), "2033-11-01"),
    ("waiver.too-long", "a waiver for ever", ("waivers", 0, "expires"), None),
    ("waiver.link", "a waiver without a link", ("waivers", 0, "evidence"), "ask me"),
    ("waiver.misfit", "a waiver of another check", ("waivers", 0, "checks"), ["C2"]),
    ("waiver.misfit", "a waiver of another reason", ("waivers", 0, "reason_contains"), "too large"),
    ("verdict.red", "a failed test without its waiver", ("waivers",), []),
    ("canary.not-drawn", "mutants of one's own choice", ("canaries", "drawn"), ["mutant_3", "mutant_0", "mutant_1"]),
    ("canary.not-drawn", "no mutants", ("canaries", "drawn"), []),
    ("canary.not-drawn", "a seed of one's own choice", ("canaries", "seed"), "00" * 32),
]


def claim(path: tuple, value):
    def change(bundle: Bundle) -> None:
        place = bundle.document
        for step in path[:-1]:
            place = place[step]
        if value is None and path[-1] == "level":
            place.pop("level")
        else:
            place[path[-1]] = value
    return change


for finding_, what_, path_, value_ in CLAIMS:
    forged(finding_, what_)(claim(path_, value_))
