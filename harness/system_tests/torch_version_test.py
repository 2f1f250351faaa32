"""Which LibTorch a run has: it stands in the results, and another one than was built with is refused."""

import importlib.util
import subprocess
import venv
from pathlib import Path

import pytest
import torch

from conftest import CACHED

TORCH = Path(importlib.util.find_spec("torch").submodule_search_locations[0])
VERSION = torch.__version__

# A LibTorch that says that it is 2.99.1.
OTHER_LIBTORCH = """
extern "C" unsigned long aoti_torch_abi_version() { return 2ul << 56 | 99ul << 48 | 1ul << 40; }
"""


@pytest.mark.parametrize("implementation", ["reference", "torch", "python:minimal_adapter:MinimalAdapter"])
def test_results_name_the_loaded_version_with_its_build(run_shardcts, implementation):
    _, run = run_shardcts(implementation, "--filter", CACHED.format(2))
    assert run.document["run"]["environment"]["torch"] == VERSION
    assert run.document["implementations"][0]["notes"]["torch"] == VERSION


@pytest.mark.parametrize("implementation", ["reference", "torch"])
@pytest.mark.parametrize("start", ["warm", "cold"])
def test_another_libtorch_at_run_time_is_refused(shardcts, tmp_path, monkeypatch, implementation, start):
    subprocess.run(["c++", "-shared", "-fPIC", "-o", tmp_path / "other.so", "-x", "c++", "-"], input=OTHER_LIBTORCH, text=True,
                   check=True, timeout=60)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "other.so"))
    ended = shardcts("run", "--impl", implementation, "--filter", CACHED.format(2), "--start", start, "--out", "out")
    assert ended.code == 2, ended
    (line,) = [line for line in ended.err.splitlines() if "built with LibTorch" in line]
    assert f"built with LibTorch {VERSION.partition('+')[0]}, but the one that is loaded is 2.99.1: " in line, ended


def test_python_with_another_pytorch_is_refused(shardcts, tmp_path, monkeypatch):
    venv.create(tmp_path / "venv")
    (packages,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    (packages / "torch").mkdir()
    for entry in TORCH.iterdir():
        (packages / "torch" / entry.name).symlink_to(entry)
    (packages / "torch/version.py").unlink()
    (packages / "torch/version.py").write_text("__version__ = '2.99.1+cu140'\n")
    monkeypatch.setenv("SHARDCTS_PYTHON", str(tmp_path / "venv/bin/python"))
    ended = shardcts("run", "--impl", "torch", "--filter", CACHED.format(2), "--out", "out")
    assert ended.code == 2, ended
    expected = f"has PyTorch 2.99.1+cu140 in {packages}/torch, but LibTorch {VERSION} is loaded"
    assert [line for line in ended.err.splitlines() if expected in line], ended
