"""ci/setup.sh without a network: a Python in place of that of .venv writes down what pip is asked for."""

import os
import shutil
import subprocess

import pytest

from conftest import REPOSITORY

DEFAULT = "torch==2.13.0"

PYTHON = """#!/bin/sh
case "$*" in
  *"pip install"*) echo "$*" >>"$0.asked" ;;
  *version.py*) echo 2.13.0+other ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A clone whose .venv has a CUDA runtime 13.2 and no more headers; all Debian packages are there."""
    (tmp_path / "ci").mkdir()
    for name in ("setup.sh", "requirements.txt"):
        shutil.copy(REPOSITORY / "ci" / name, tmp_path / "ci" / name)
    include = tmp_path / ".venv/lib/python3.11/site-packages/nvidia/cu13/include"
    for folder in (include, tmp_path / ".venv/bin", include.parent.parent / "nccl/include", tmp_path / "bin"):
        folder.mkdir(parents=True)
    (include / "cuda_runtime_api.h").write_text("#define CUDART_VERSION  13020\n")
    (include.parent.parent / "nccl/include/nccl.h").write_text("")
    for path, text in ((".venv/bin/python", PYTHON), ("bin/dpkg-query", "#!/bin/sh\nprintf 'install ok installed'\n")):
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    return tmp_path


def set_up(checkout, torch=None) -> tuple[str, list[str]]:
    """What it prints, and the requirements that pip was asked for."""
    environment = {**os.environ, "PATH": f"{checkout}/bin:/usr/bin:/bin"}
    environment.pop("SHARDCTS_TORCH", None)
    if torch:
        environment["SHARDCTS_TORCH"] = torch
    asked = checkout / ".venv/bin/python.asked"
    asked.unlink(missing_ok=True)
    done = subprocess.run(["ci/setup.sh"], cwd=checkout, env=environment, text=True, timeout=60, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    words = asked.read_text().split() if asked.exists() else []
    return done.stdout, [word for word in words if "==" in word or "<" in word]


def test_a_named_pytorch_is_remembered(checkout):
    _, asked = set_up(checkout, "torch==2.13.0+vendor")
    assert "torch==2.13.0+vendor" in asked
    for file in ("crt/host_defines.h", "nv/target"):
        header = checkout / ".venv/lib/python3.11/site-packages/nvidia/cu13/include" / file
        header.parent.mkdir()
        header.write_text("")
    (checkout / ".venv/lib/python3.11/site-packages/nvidia_cuda_crt-13.2.86.dist-info").mkdir()
    out, asked = set_up(checkout)
    assert asked == [] and "setup: .venv keeps torch==2.13.0+vendor" in out
    out, asked = set_up(checkout, DEFAULT)
    assert asked == [DEFAULT] and "setup: installed PyTorch 2.13.0+other" in out
    assert set_up(checkout) == ("", [])


def test_headers_are_of_the_version_of_the_runtime_that_is_there(checkout):
    _, asked = set_up(checkout)
    assert asked == [DEFAULT, "nvidia-cuda-crt==13.2.*", "nvidia-cuda-cccl<13.3"]


def test_headers_of_another_version_are_replaced(checkout):
    packages = checkout / ".venv/lib/python3.11/site-packages"
    for file in ("crt/host_defines.h", "nv/target"):
        header = packages / "nvidia/cu13/include" / file
        header.parent.mkdir()
        header.write_text("")
    (packages / "nvidia_cuda_crt-13.5.37.dist-info").mkdir()
    _, asked = set_up(checkout)
    assert "nvidia-cuda-crt==13.2.*" in asked
