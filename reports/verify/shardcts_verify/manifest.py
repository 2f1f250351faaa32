"""manifest.json: what the bundle claims, and the hash of every file in it."""
import hashlib
import json
import re
from dataclasses import dataclass

from .archive import Archive
from .documents import Fields, parse_json, parse_toml
from .findings import Findings, reject

FORMAT = "shardcts bundle"
VERSION = 1
MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"
STATEMENT, RECORDINGS = "statement.toml", "recordings.json"
PARTS = ("run", "canaries", "oracle")
REQUIRED = (MANIFEST, MANIFEST_HASH, STATEMENT, RECORDINGS, *(f"{part}/results.json" for part in PARTS))
POOL = re.compile(r"(run|canaries|oracle)/runs/[A-Za-z0-9._=+-]+/world-[0-9]+/pool-[0-9]+")
_KNOWN = re.compile(rf"{POOL.pattern}/(plan\.json|rank-[0-9]+\.events\.jsonl)"
                    r"|recordings/[A-Za-z0-9._=+-]+(/phase-[0-9]+)?/rank-[0-9]+\.jsonl")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")

STATEMENT_FIELDS = {"product": ("name", "version", "vendor"), "contact": ("role", "address"),
                    "reproduce": ("hardware", "software", "commands")}

# Environment variables that may change what a run does, and say nothing about anybody.
ENVIRONMENT = ("CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES",
               "CUBLAS_WORKSPACE_CONFIG", "HIP_VISIBLE_DEVICES", "KMP_AFFINITY", "LANG", "LC_ALL", "MKL_NUM_THREADS",
               "NCCL_ALGO", "NCCL_DEBUG", "NCCL_IB_DISABLE", "NCCL_P2P_DISABLE", "NCCL_PROTO", "NCCL_SHM_DISABLE",
               "OMP_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NVML_BASED_CUDA_CHECK", "ROCR_VISIBLE_DEVICES",
               "TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_BLOCKING_WAIT", "TORCH_SHOW_CPP_STACKTRACES", "TZ")


@dataclass(frozen=True)
class Claim:
    """What the manifest says of the run."""
    profile: str
    conformance: str
    level: str
    device: str          # cpu or accelerator
    list_sha256: str
    implementation: Fields
    waivers: list
    patches: frozenset[str]
    started: float
    finished: float
    canaries: list
    seed: str


def canonical(document) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def read_manifest(archive: Archive) -> Fields:
    """Checks the form of the manifest, its hash, and that of every other member. Raises Rejected."""
    for name in (MANIFEST, MANIFEST_HASH):
        if name not in archive.names:
            reject("manifest.missing", name, "is not in the bundle")
    data = archive.read(MANIFEST)
    if archive.read(MANIFEST_HASH) != f"{hashlib.sha256(data).hexdigest()}\n".encode():
        reject("manifest.hash", MANIFEST, "does not have the hash of manifest.sha256")
    document = parse_json(data, MANIFEST, "manifest.form")
    if not isinstance(document, dict) or canonical(document) != data:
        reject("manifest.form", MANIFEST, "is not written as certify writes it")
    manifest = Fields(document, MANIFEST, "manifest.form").only(
        "format", "version", "suite", "profile", "implementation", "environment", "device", "patches", "waivers", "times",
        "options", "canaries", "members")
    if manifest.text("format") != FORMAT or manifest.count("version") != VERSION:
        reject("manifest.version", MANIFEST, f"{manifest.text('format')!r}, version {manifest.count('version')}")
    _check_members(archive, manifest.object("members"))
    return manifest


def _check_members(archive: Archive, members: Fields) -> None:
    findings = Findings()
    listed, there = set(members.keys()), set(archive.names) - {MANIFEST, MANIFEST_HASH}
    for name in sorted((listed | set(REQUIRED[2:])) - there):
        findings.add("member.missing", name, "is not in the bundle")
    for name in sorted(there):
        if name not in listed:
            findings.add("member.unknown", name, "is not in the manifest")
        elif name not in REQUIRED and not _KNOWN.fullmatch(name):
            findings.add("member.unknown", name, "is no file that a bundle has")
    findings.stop()
    for name in sorted(there):
        digest = members.text(name)
        if not _SHA256.fullmatch(digest) or hashlib.sha256(archive.read(name)).hexdigest() != digest:
            findings.add("member.hash", name, "does not have the SHA-256 of the manifest")
    findings.stop()


def check_origin(manifest: Fields) -> None:
    """Suite, binaries and environment: what can be checked without the run."""
    findings = Findings()
    _check_suite(manifest.object("suite").only("version", "commit", "binaries"), findings)
    for name in manifest.object("environment").object("variables").keys():
        if name not in ENVIRONMENT:
            findings.add("environment.variable", f"{MANIFEST}: environment", name)
    findings.stop()


def read_claim(manifest: Fields) -> Claim:
    profile = manifest.object("profile").only("name", "conformance", "level", "device", "sha256")
    times = manifest.object("times").only("started", "finished")
    canaries = manifest.object("canaries").only("seed", "drawn")
    patches = [Fields(patch, f"{MANIFEST}: patches", "manifest.form").text("target") for patch in manifest.take("patches", list)]
    return Claim(profile.text("name"), profile.text("conformance"), profile.text("level"), profile.text("device"),
                 profile.text("sha256"), manifest.object("implementation"), manifest.take("waivers", list), frozenset(patches),
                 times.number("started"), times.number("finished"), canaries.texts("drawn"), canaries.text("seed"))


def _check_suite(suite: Fields, findings: Findings) -> None:
    commit = suite.text("commit")
    if commit.endswith("-dirty"):
        findings.add("suite.dirty-tree", f"{MANIFEST}: suite", f"commit {commit}")
    if not _COMMIT.fullmatch(commit.removesuffix("-dirty")):
        findings.add("suite.commit", f"{MANIFEST}: suite", f"commit {commit!r}")
    binaries = suite.object("binaries")
    for name in ("shardcts", "shardcts-rank"):
        if name not in binaries:
            findings.add("suite.binaries", f"{MANIFEST}: suite", f"{name} has no hash")
    for name in binaries.keys():
        if not _SHA256.fullmatch(binaries.text(name)):
            findings.add("suite.binaries", f"{MANIFEST}: suite", f"{name}: {binaries.text(name)!r} is no SHA-256")


def check_statement(data: bytes) -> dict:
    """STATEMENT.toml: three tables of texts, none empty."""
    document = Fields(parse_toml(data, STATEMENT, "statement.form"), STATEMENT, "statement.form").only(*STATEMENT_FIELDS)
    statement = {}
    for table, keys in STATEMENT_FIELDS.items():
        fields = document.object(table).only(*keys)
        statement[table] = {key: fields.text(key).strip() for key in keys}
        for key, value in statement[table].items():
            if not value or len(value) > 10_000:
                reject("statement.form", STATEMENT, f"{table}.{key} is empty or too long")
    return statement
