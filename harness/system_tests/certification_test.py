"""From a run to a bundle, and to somebody who has nothing but the verifier; and the gate that compares two runs."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import BUILD, CACHED, REPOSITORY, SHARDCTS

sys.path[:0] = [str(REPOSITORY / "reports/verify"), str(REPOSITORY / "reports/tests")]

import bad_bundles  # noqa: E402
import bad_proofs  # noqa: E402, F401 (registers what it forges)
import bad_runs  # noqa: E402, F401
import example_bundle  # noqa: E402
from shardcts_verify.archive import Archive, write_archive  # noqa: E402

SECRETS = {"API_TOKEN": "planted-secret-1", "AWS_SECRET_ACCESS_KEY": "planted-secret-2", "NCCL_PRIVATE": "planted-secret-3"}
PROFILE = ("--profile", "fsdp2", "--level", "core")


def call(*words, code: int = 0, cwd: Path = REPOSITORY, **environment) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400, check=False)
    assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def without_local_changes(bundle: Path, clean: Path) -> Path:
    """A copy as it would be of a committed tree: developers run this test before they commit."""
    archive = Archive(bundle)
    opened = bad_bundles.open_bundle({name: archive.read(name) for name in archive.names})
    opened.document["suite"]["commit"] = opened.document["suite"]["commit"].removesuffix("-dirty")
    opened.members["run/results.json"] = opened.members["run/results.json"].replace(b'-dirty"', b'"', 1)
    write_archive(clean, example_bundle.seal(opened.members, opened.document))
    return clean


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """(folder with ref.zip and ref.zip.sig, what certify printed)"""
    folder = tmp_path_factory.mktemp("certified")
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vendor", "-f", folder / "key")
    (folder / "signers").write_text(f"vendor@example.org {(folder / 'key.pub').read_text()}")
    (folder / "statement.toml").write_bytes(example_bundle.STATEMENT)
    dirty = call("git", "status", "--porcelain", "-uno") != ""
    said = call(SHARDCTS, "certify", "--impl", "reference", *PROFILE, "--statement", folder / "statement.toml",
                "--out", folder / "ref.zip", "--sign", folder / "key", code=1 if dirty else 0, **SECRETS, OMP_NUM_THREADS="1")
    if dirty:
        assert "suite.dirty-tree" in said
        without_local_changes(folder / "ref.zip", folder / "ref.zip")
        (folder / "ref.zip.sig").unlink()
        call("ssh-keygen", "-q", "-Y", "sign", "-f", folder / "key", "-n", "shardcts-bundle", folder / "ref.zip")
    return folder, said


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    """The command in a virtual environment that has nothing else."""
    folder = tmp_path_factory.mktemp("verifier")
    source = folder / "source"
    shutil.copytree(REPOSITORY / "reports/verify", source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    call(sys.executable, "-m", "venv", folder / "venv")
    (wheel,) = folder.glob("*.whl")
    call(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    call(folder / "venv/bin/python", "-c", "import torch", code=1)
    return folder / "venv/bin/shardcts-verify"


def test_who_has_the_verifier_only_can_verify(certified, verifier, tmp_path):
    folder, _ = certified
    said = call(verifier, folder / "ref.zip", "--allowed-signers", folder / "signers", "--signer", "vendor@example.org", cwd=tmp_path)
    assert "signed by vendor@example.org" in said and "\nconforms\n" in said
    assert "recomputed from the events: 54 pass; mutants killed: " in said


def test_the_program_has_the_same_verifier(certified):
    folder, _ = certified
    said = json.loads(call(SHARDCTS, "verify", folder / "ref.zip", "--format", "json"))
    assert said["conforms"] is True and len(said["canaries"]) == 3


def test_no_secret_of_the_environment_is_in_a_bundle(certified):
    folder, _ = certified
    with zipfile.ZipFile(folder / "ref.zip") as archive:
        data = b"".join(archive.read(name) for name in archive.namelist())
    assert not [secret for secret in SECRETS.values() if secret.encode() in data]
    assert b'"OMP_NUM_THREADS": "1"' in data
    assert not [name for name in SECRETS if name.encode() in data]


@pytest.mark.parametrize("what, finding", [("a result that is worse than its events", "verdict.differs"),
                                           ("a run of chosen tests", "option.forbidden"), ("no mutants", "canary.not-drawn"),
                                           ("a recording without a digest", "recording.missing"), ("a mutant that lives", "canary.alive")])
def test_a_real_bundle_that_was_forged_is_noticed(certified, tmp_path, what, finding):
    archive = Archive(certified[0] / "ref.zip")
    bad_bundles.forge({name: archive.read(name) for name in archive.names}, what, tmp_path / "bad.zip")
    assert f"{finding}: " in call(SHARDCTS, "verify", tmp_path / "bad.zip", code=1)


def test_a_mutant_gets_no_bundle(certified, tmp_path):
    """And its run is there to look at."""
    folder, _ = certified
    said = call(SHARDCTS, "certify", "--impl", "reference+mutant=state_dict_cloned", *PROFILE, "--statement",
                folder / "statement.toml", "--out", tmp_path / "bad.zip", code=2)
    assert "does not conform" in said
    assert not (tmp_path / "bad.zip").exists() and (tmp_path / "bad.zip.runs/run/results.json").exists()


@pytest.mark.parametrize("words", [("--filter", "cached"), ("--seed", "7"), ("--repeat", "1"), ("--profile", "fsdp")])
def test_what_certify_refuses(certified, tmp_path, words):
    folder, _ = certified
    call(SHARDCTS, "certify", "--impl", "reference", *PROFILE, "--statement", folder / "statement.toml", "--out",
         tmp_path / "x.zip", *words, code=2)
    assert not (tmp_path / "x.zip").exists()


def test_gate_and_nightly(tmp_path):
    """A mutant is red in `diff`, and the history grows."""
    store = tmp_path / "history.jsonl"
    for name, mutant, code in (("main", "", 0), ("change", "+mutant=state_dict_cloned", 1)):
        call(SHARDCTS, "run", "--impl", f"reference{mutant}", "--filter", CACHED.format(2), "--out", tmp_path / name, code=code)
        call(SHARDCTS, "history", tmp_path / name, "--store", store)
    said = call(SHARDCTS, "diff", tmp_path / "main", tmp_path / "change", code=1)
    assert "### Newly failing: " in said and "pass → fail" in said
    assert "nothing got worse" in call(SHARDCTS, "diff", tmp_path / "main", tmp_path / "main")
    assert len(store.read_text().splitlines()) == 2


def test_shards_of_a_profile_become_one_run(tmp_path):
    for shard in ("1", "2"):
        call(SHARDCTS, "run", "--impl", "reference", *PROFILE, "--world", "2", "--shard", f"{shard}/2", "--out", tmp_path / shard)
    call(SHARDCTS, "merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "all")
    call(SHARDCTS, "run", "--impl", "reference", *PROFILE, "--world", "2", "--out", tmp_path / "whole")
    said = json.loads(call(SHARDCTS, "diff", tmp_path / "whole", tmp_path / "all", "--format", "json"))
    (difference,) = said["differences"]
    assert not said["regression"] and difference["added"] == difference["removed"] == []
    call(SHARDCTS, "report", tmp_path / "all")


def test_a_profile_requires_its_capabilities(tmp_path):
    """What is not supported fails, as the list says that it must be."""
    said = call(SHARDCTS, "run", "--impl", "python:gather_only:GatherOnly", *PROFILE, "--world", "2", "--out", tmp_path / "out",
                code=1, SHARDCTS_PYTHONPATH=str(REPOSITORY / "docs/examples/python"))
    assert "the run requires capability" in said


def test_this_build_has_the_frozen_lists():
    said = call(sys.executable, "-m", "shardcts_reports.freeze", "--shardcts", BUILD / "shardcts", "--check",
                PYTHONPATH=str(REPOSITORY / "reports"))
    assert said.endswith(": as it was frozen\n"), "make a new version and withdraw this one: docs/certification.md"
