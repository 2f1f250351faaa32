"""The adapter of my_library under ShardCTS. SHARDCTS names the program, if it is not in PATH."""

import json
import os
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
IMPLEMENTATION = "python:my_library_adapter:MyLibraryAdapter"


def shardcts(command: str, *arguments: str) -> subprocess.CompletedProcess:
    words = [os.environ.get("SHARDCTS", "shardcts"), command, "--impl", IMPLEMENTATION, *arguments]
    environment = os.environ | {"SHARDCTS_PYTHONPATH": str(FOLDER)}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900)


def test_the_suite_of_fully_shard(tmp_path):
    ended = shardcts("run", "--suite", "fully_shard_state_dict", "--world", "2", "--out", str(tmp_path / "run"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    tests = json.loads((tmp_path / "run/results.json").read_text())["tests"]
    assert sum(test["verdict"] == "pass" for test in tests) >= 9, ended.stdout


def test_what_is_declared_works(tmp_path):
    ended = shardcts("capabilities", "--out", str(tmp_path / "run"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
