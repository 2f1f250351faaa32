"""shardcts certify: runs a profile with fixed options, then what is drawn from that run, and makes a bundle of it.

The verifier (reports/verify) says what a bundle is; this module only makes what it asks for.
"""
import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from shardcts_verify import canaries, manifest, profiles, recordings
from shardcts_verify.archive import InMemory, write_archive
from shardcts_verify.documents import Fields
from shardcts_verify.findings import Rejected
from shardcts_verify.judge import judge
from shardcts_verify.part import Part, read_part
from shardcts_verify.signature import sign
from shardcts_verify.verify import event_hashes, verify

from .boundary import run_as_command
from .load import InputError, load_json

LIBRARIES = ("libshardcts_contract.so", "libshardcts_reference.so", "libshardcts_python.so")


@dataclass
class Certification:
    """What is asked for, and the folder in which it is run."""
    shardcts: Path
    implementation: str
    profile: str
    conformance: str
    level: str
    statement: bytes
    scratch: Path
    passed_on: list[str] = field(default_factory=list)  # options of `shardcts run` that change no verdict
    waivers: list[Path] = field(default_factory=list)

    def run_command(self) -> list[str]:
        words = ["run", "--impl", self.implementation, "--profile", f"{self.profile}@{self.conformance}", "--level", self.level,
                 "--repeat", str(profiles.REPETITIONS), *self._fixed()]
        for file in self.waivers:
            words += ["--waivers", str(file)]
        return [*words, *self.passed_on, "--out", str(self.scratch / "run")]

    def mutants_command(self, implementation: str, drawn: list[profiles.Canary], part: str) -> list[str]:
        words = ["mutants", "--impl", implementation, "--kind", "decorator", *self._fixed()]
        for canary in drawn:
            words += ["--mutant", canary.mutant]
        for test in sorted({canary.test for canary in drawn}):
            words += ["--filter", test]
        return [*words, "--out", str(self.scratch / part)]

    @staticmethod
    def _fixed() -> list[str]:
        return ["--seed", str(profiles.SEED), "--trace", profiles.TRACE, "--timeout", f"{profiles.TEST_TIMEOUT_SECONDS:g}"]

    def call(self, words: list[str]) -> int:
        """Its exit code; what it prints goes where ours goes."""
        print(f"certify: shardcts {' '.join(words)}", flush=True)
        return subprocess.run([self.shardcts, *words], check=False).returncode


def members_of_run(folder: Path, part: str) -> dict[str, bytes]:
    """Results, plans and event files; no logs, which may hold anything."""
    members = {f"{part}/results.json": (folder / "results.json").read_bytes()}
    for pattern in ("runs/*/world-*/pool-*/plan.json", "runs/*/world-*/pool-*/rank-*.events.jsonl"):
        for file in sorted(folder.glob(pattern)):
            members[f"{part}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()
    return members


def digests_of(names: list[str], folder: Path) -> dict[str, str]:
    """Of the recordings that exist."""
    return {name: sha256((folder / name).read_bytes()) for name in sorted(names) if (folder / name).is_file()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def binaries_of(shardcts: Path) -> dict[str, str]:
    """Programs and libraries of the suite that take part."""
    folders = (shardcts.parent, shardcts.parent.parent / "lib/shardcts")
    names = ("shardcts", "shardcts-rank", *LIBRARIES)
    found = {name: folder / name for name in names for folder in reversed(folders) if (folder / name).is_file()}
    return {name: sha256(path.read_bytes()) for name, path in sorted(found.items())}


def environment_of(run: dict) -> dict:
    """What the run found out about the machine, and the variables of the allow-list. Nothing else of the environment."""
    variables = {name: os.environ[name] for name in manifest.ENVIRONMENT if name in os.environ}
    return {**run["environment"], "variables": variables}


def waivers_of(results: dict) -> list[dict]:
    """Those that were applied, each once, without what came of them."""
    found = {}
    for test in results["tests"]:
        if test["waiver"] and test["verdict"] == "waived":
            entry = {key: value for key, value in test["waiver"].items() if key not in ("found", "found_reason", "problem")}
            found[entry["place"]] = entry
    return list(found.values())


def make_manifest(certification: Certification, profile: profiles.Profile, results: dict, times: tuple[float, float],
                  drawn: list[profiles.Canary], seed: str, binaries: dict[str, str]) -> dict:
    run, implementation = results["run"], results["implementations"][0]
    keys = ("label", "source", "device", "options", "name", "version", "capabilities", "notes")
    return {"format": manifest.FORMAT, "version": manifest.VERSION,
            "suite": {"version": "0.1.0", "commit": run["suite_commit"], "binaries": binaries},
            "profile": {"name": profile.name, "conformance": profile.version, "level": profile.level, "device": profile.device,
                        "sha256": profile.sha256},
            "implementation": {key: implementation[key] for key in keys}, "patches": implementation["patches"],
            "device": {"type": implementation["device"], "gpu": run["environment"]["gpu"]},
            "environment": environment_of(run), "waivers": waivers_of(results),
            "times": {"started": times[0], "finished": times[1]},
            "options": {"command": certification.run_command()},
            "canaries": {"seed": seed, "drawn": [canary.mutant for canary in drawn]}}


def write_bundle(path: Path, document: dict, members: dict[str, bytes]) -> None:
    """Adds the manifest with the hash of every member, and its own."""
    text = manifest.canonical(document | {"members": {name: sha256(data) for name, data in members.items()}})
    write_archive(path, members | {manifest.MANIFEST: text, manifest.MANIFEST_HASH: f"{sha256(text)}\n".encode()})


def main_run(certification: Certification) -> tuple[dict, dict[str, bytes], profiles.Profile]:
    """Results, members and the profile for the device on which it was run. InputError when it shows no conformance."""
    code = certification.call(certification.run_command())
    if code != 0:
        raise InputError(f"the run does not conform (exit code {code}); see {certification.scratch / 'run'}")
    results = load_json(certification.scratch / "run/results.json")
    device = "cpu" if results["implementations"][0]["device"] == "cpu" else "accelerator"
    profile = profiles.read_profile(certification.profile, certification.conformance, certification.level, device)
    return results, members_of_run(certification.scratch / "run", "run"), profile


def outcomes_of(members: dict[str, bytes], document: dict, profile: profiles.Profile) -> tuple[Part, dict]:
    """As the verifier sees them."""
    part = read_part(InMemory(members), "run")
    claim = manifest.read_claim(Fields(document, manifest.MANIFEST, "manifest.form"))
    return part, judge(claim, profile, part)


def draw_and_run(certification: Certification, implementation: str, drawn: list[profiles.Canary], part: str) -> dict[str, bytes]:
    code = certification.call(certification.mutants_command(implementation, drawn, part))
    if code != 0:
        raise InputError(f"a drawn mutant is not killed as it must be (exit code {code}); see {certification.scratch / part}")
    return members_of_run(certification.scratch / part, part)


def recorded(certification: Certification, profile: profiles.Profile, part: Part, outcomes: dict, seed: str,
             label: str) -> dict[str, bytes]:
    folder = certification.scratch / "run/traces" / recordings.folder_name(label)
    expected = list(recordings.expected_recordings(profile, part))
    members = {manifest.RECORDINGS: manifest.canonical(digests_of(expected, folder))}
    drawn = recordings.sampled_folders(profile, part, outcomes, seed)
    for name in expected:
        if name.rpartition("/")[0] in drawn:
            members[f"recordings/{name}"] = (folder / name).read_bytes()
    return members


def certify(certification: Certification, out: Path) -> None:
    manifest.check_statement(certification.statement)
    before, started = binaries_of(certification.shardcts), time.time()
    results, members, profile = main_run(certification)
    members[manifest.STATEMENT] = certification.statement
    document = make_manifest(certification, profile, results, (started, time.time()), [], "", before)
    part, outcomes = outcomes_of(members, document, profile)
    hashes = event_hashes({name: sha256(data) for name, data in members.items()})
    seed = profiles.seed_of(profile, certification.statement, hashes)
    passed = {name for name, outcome in outcomes.items() if outcome.verdict == "pass"}
    drawn = profiles.draw_canaries(profile, seed, passed)
    label = results["implementations"][0]["label"]
    members |= recorded(certification, profile, part, outcomes, seed, label)
    members |= draw_and_run(certification, certification.implementation, drawn, "canaries")
    members |= draw_and_run(certification, canaries.ORACLE, drawn, "oracle")
    if binaries_of(certification.shardcts) != before:
        raise InputError("the programs have changed while they ran")
    document = make_manifest(certification, profile, results, (started, time.time()), drawn, seed, before)
    write_bundle(out, document, members)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shardcts certify", description="Runs a profile and makes a bundle of it.",
                                     epilog="Exit code: 0 the bundle shows conformance, 1 it is written and does not, "
                                            "2 nothing is written.")
    parser.add_argument("--shardcts", type=Path, default=Path("build/shardcts"), help=argparse.SUPPRESS)
    parser.add_argument("--impl", required=True, help="as `shardcts run` takes it")
    parser.add_argument("--profile", required=True, help="NAME or NAME@VERSION of conformance/")
    parser.add_argument("--level", choices=("core", "full"), default="full")
    parser.add_argument("--statement", type=Path, required=True, help="product, contact, how to reproduce (TOML)")
    parser.add_argument("--out", type=Path, required=True, help="the bundle; the runs are in BUNDLE.runs until it is written")
    parser.add_argument("--waivers", type=Path, action="append", default=[], help="failures that the product answers for")
    parser.add_argument("--sign", type=Path, help="a key of ssh-keygen: writes BUNDLE.sig")
    parser.add_argument("--keep", action="store_true", help="keeps BUNDLE.runs, which has the recordings")
    for name in ("--launcher", "--control-address", "--jobs", "--storage-root", "--start-timeout"):
        parser.add_argument(name, help="as of `shardcts run`")
    return parser.parse_args(arguments)


def certification_of(options: argparse.Namespace) -> Certification:
    name, _, version = options.profile.partition("@")
    passed_on = []
    for flag in ("launcher", "control_address", "jobs", "storage_root", "start_timeout"):
        if getattr(options, flag) is not None:
            passed_on += [f"--{flag.replace('_', '-')}", getattr(options, flag)]
    newest = max(profiles.versions(), key=lambda text: [int(number) for number in text.split(".")])
    scratch = options.out.with_name(options.out.name + ".runs").absolute()
    return Certification(options.shardcts.absolute(), options.impl, name, version or newest, options.level,
                         options.statement.read_bytes(), scratch, passed_on, options.waivers)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    certification = certification_of(options)
    certification.scratch.mkdir(parents=True, exist_ok=True)
    try:
        certify(certification, options.out)
    except Rejected as rejected:
        raise InputError("; ".join(map(str, rejected.findings))) from None
    if not options.keep:
        shutil.rmtree(certification.scratch)
    if options.sign:
        print(sign(options.out, options.sign))
    result = verify(options.out)
    print("\n".join([*map(str, result.findings), f"{options.out}: {'does not show' if result.findings else 'shows'} conformance: "
                     f"{json.dumps(result.counts)}, mutants killed: {', '.join(result.canaries) or 'none'}"]))
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
