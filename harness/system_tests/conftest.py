"""The vocabulary of the system tests: call the program, read what it left behind, look for processes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parent.parent
sys.path.insert(0, str(REPOSITORY / "reports"))

from shardcts_reports.model import read_report  # noqa: E402

BUILD = Path(os.environ.get("SHARDCTS_BUILD", REPOSITORY / "build"))
SHARDCTS = BUILD / "shardcts"
SYNTHETIC = BUILD / "synthetic/shardcts"  # the same program on tests of our own (harness/synthetic)
FAULTY = BUILD / "synthetic/libshardcts_faulty.so"  # the reference with the faults that a file names
EXAMPLES = REPOSITORY / "docs/examples/python"
ADAPTERS = (FOLDER / "adapters", REPOSITORY / "harness/adapters/python/examples", EXAMPLES)
SUITE = "fully_shard_state_dict/TestFullyShardStateDictMultiProcess"

# The four smallest tests of a world size, in the order of the inventory; linear layers of 2, 3, 4 and 5.
CACHED = "*test_cached_state_dict/world_size={},mlp_dim=?,mutate_after_state_dict=false"

# One test with a longer recording: saves, loads, gathers.
SAVE_LOAD = f"{SUITE}.test_dp_state_dict_save_load/world_size=2,mesh=1-D,mlp_dim=3,use_shard_placement_fn=false"


@dataclass
class Ended:
    """How a call of the program ended."""

    words: list[str]
    pid: int
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"{' '.join(self.words)}\nexit code {self.code}\n{self.out}{self.err}"


@dataclass
class Run:
    """results.json of a run folder, after the report package has found it valid."""

    folder: Path
    document: dict

    @property
    def complete(self) -> bool:
        return self.document["complete"]

    @property
    def tests(self) -> list[dict]:
        return self.document["tests"]

    @property
    def verdicts(self) -> list[str]:
        """In the order of the inventory."""
        return [test["verdict"] for test in self.tests]

    def test(self, part: str) -> dict:
        """The one test whose id holds this text."""
        (found,) = [test for test in self.tests if part in test["id"]]
        return found

    def of(self, implementation: str) -> Run:
        """What concerns this one of several implementations. Those with one adapter share its start, so they are quick."""
        parts = {name: [entry for entry in self.document[name] if entry["implementation"] == implementation]
                 for name in ("tests", "pools")}
        return Run(self.folder, {**self.document, **parts})

    def starts(self) -> int:
        """How often ranks were started."""
        return sum(pool["starts"] for pool in self.document["pools"])


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**inherited, "SHARDCTS_PYTHONPATH": ":".join(map(str, ADAPTERS)), "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1"}


def start_shardcts(*words, cwd: Path, program: Path = SHARDCTS) -> subprocess.Popen:
    """The program, started and left alone; the caller ends it with end_of."""
    return subprocess.Popen([str(program), *map(str, words)], cwd=cwd, env=_environment(), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end_of(process: subprocess.Popen, timeout: float) -> Ended:
    """Waits for its end; past the deadline it is killed and the test fails."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"{process.args} did not end within {timeout} s\n{out}{err}")
    return Ended(process.args, process.pid, process.returncode, out, err)


def results(folder: Path) -> Run:
    """Read strictly: schema, and what the schema cannot say."""
    return Run(folder, read_report(folder).document)


def processes_of(ended_pid: int, folder: Path) -> list[str]:
    """Command lines of live processes that name the run folder or were started for a pool of that program."""
    token = f"SHARDCTS_POOL_TOKEN={ended_pid}-".encode()
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            if process.name != str(os.getpid()) and (str(folder).encode() in words
                                                     or token in (process / "environ").read_bytes()):
                left.append(f"{process.name}: {words.decode(errors='replace')}")
        except OSError:
            continue  # it ended in the meantime
    return left


def wait_until(condition, timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.05)


def ranks_are_in(folder: Path, part: str) -> bool:
    """Every rank of the first pool of 2 has begun the test whose id holds `part`, so all have ended those before it."""
    texts = [file.read_text() for file in folder.glob("runs/*/world-2/pool-0/rank-*.events.jsonl")]
    begun = [any('"test_started"' in line and part in line for line in text.splitlines()) for text in texts]
    return len(begun) == 2 and all(begun)


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def recording_of(folder: Path, implementation: str, name: str = "script") -> dict:
    """The script with outcomes that `shardcts export` makes of a recorded test."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "x.zip"
        subprocess.run([SHARDCTS, "export", folder / "traces" / implementation / name, "--out", archive], check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        with zipfile.ZipFile(archive) as opened:
            return json.loads(opened.read("script.json"))


def content_of(entry: dict) -> str:
    """What tells a recorded tensor's bytes from others: small ones are there, of others the digest."""
    tensor = entry["$tensor"]
    return tensor["data"] if "data" in tensor else tensor["digest"]


@pytest.fixture
def shardcts(tmp_path):
    """shardcts(words…) in an empty folder -> Ended; nothing that it started outlives it."""

    def call(*words, timeout: float = 150, program: Path = SHARDCTS) -> Ended:
        ended = end_of(start_shardcts(*words, cwd=tmp_path, program=program), timeout)
        assert processes_of(ended.pid, tmp_path) == [], ended
        return ended

    return call


@pytest.fixture
def run_shardcts(shardcts, tmp_path):
    """run_shardcts(implementation(s), words…) -> (Ended, Run): `shardcts run` into a folder of its own."""

    def call(implementations: str | list[str], *words, out: str = "out", **options) -> tuple[Ended, Run]:
        names = [implementations] if isinstance(implementations, str) else implementations
        ended = shardcts("run", *[word for name in names for word in ("--impl", name)], "--out", out, *words, **options)
        assert ended.code in (0, 1, 3), ended
        return ended, results(tmp_path / out)

    return call


def pytest_sessionstart(session):
    if not SHARDCTS.exists():
        pytest.exit(f"{SHARDCTS} is not built; SHARDCTS_BUILD names the build folder", returncode=2)


def outcomes_of(shardcts, folder, implementation, steps, world=2):
    """Runs these steps as a script: the outcomes of all ranks, by the name of the step."""
    file = folder / "script.json"
    file.write_text(json.dumps({"contract": 1, "world_size": world, "steps": steps}))
    ended = shardcts("exec", file, "--impl", implementation, "--world", world, "--out", folder / implementation)
    assert ended.code in (0, 1), ended
    recorded = recording_of(folder / implementation, implementation)["steps"]
    assert len(recorded) == len(steps), ended
    return {step.get("let", f"step {index}"): record["outcomes"]
            for index, (step, record) in enumerate(zip(steps, recorded))}
