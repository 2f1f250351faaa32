"""Building against a CUDA build of PyTorch on a machine without a CUDA toolkit: the source tree, and the installed package.

The CUDA build is a folder that looks like one: the LibTorch that is there, empty CUDA libraries beside it, and a CMake
package that ends as LibTorch's own does where there is no toolkit.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from conftest import BUILD, REPOSITORY

TORCH = Path(importlib.util.find_spec("torch").submodule_search_locations[0])
CUDA_LIBRARIES = ("libtorch_cuda.so", "libc10_cuda.so")

NO_TOOLKIT = 'message(FATAL_ERROR "Your installed Caffe2 version uses CUDA but I cannot find the CUDA libraries.")\n'

CONSUMER = """
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
include("{repository}/cmake/ShardctsLibTorch.cmake")
shardcts_import_libtorch("{torch}" error)
if(error)
  message(FATAL_ERROR "${{error}}")
endif()
add_executable(consumer consumer.cc)
target_link_libraries(consumer PRIVATE shardcts::libtorch)
"""

# Calls nothing of CUDA, and must have loaded it all the same: kernels for the GPU register themselves then.
PROGRAM = """
#include <ATen/Parallel.h>
#include <dlfcn.h>
int main() { return at::get_num_threads() < 1 ? 1 : dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD) == nullptr ? 2 : 0; }
"""


def call(*words, cwd) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CUDA")}
    return subprocess.run([str(word) for word in words], cwd=cwd, env={**environment, "PATH": "/usr/bin:/bin"}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=280, check=False)


def succeed(*words, cwd) -> str:
    done = call(*words, cwd=cwd)
    assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def message_of(done: subprocess.CompletedProcess) -> str:
    """CMake breaks lines where it likes."""
    return " ".join(done.stdout.split())


def link_all(source: Path, target: Path, but=()) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.name not in but:
            (target / entry.name).symlink_to(entry)


@pytest.fixture
def cuda_build(tmp_path):
    """The folder of a package torch."""
    folder = tmp_path / "torch"
    link_all(TORCH, folder, but=("lib", "share", "__pycache__"))
    link_all(TORCH / "lib", folder / "lib")
    shutil.copytree(TORCH / "share", folder / "share")
    (folder / "share/cmake/Caffe2/Caffe2Config.cmake").write_text(NO_TOOLKIT)
    for name in CUDA_LIBRARIES:
        if not (folder / "lib" / name).exists():
            succeed("c++", "-shared", f"-Wl,-soname,{name}", "-o", folder / "lib" / name, "-x", "c++", "/dev/null", cwd=tmp_path)
    return folder


@pytest.fixture
def python_with_cuda_build(cuda_build, tmp_path):
    """A virtual environment with that PyTorch, and all else that ours has."""
    venv.create(tmp_path / "venv")
    (packages,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    link_all(TORCH.parent, packages, but=("torch", "__pycache__"))
    (packages / "torch").symlink_to(cuda_build)
    return tmp_path / "venv/bin/python"


@pytest.fixture
def prefix(tmp_path):
    succeed("cmake", "--install", BUILD, "--prefix", tmp_path / "prefix", cwd=tmp_path)
    return tmp_path / "prefix"


def configure_example(prefix, torch, tmp_path) -> subprocess.CompletedProcess:
    return call("cmake", "-S", REPOSITORY / "docs/examples/cpp", "-B", tmp_path / "example", "-G", "Ninja",
                f"-DCMAKE_PREFIX_PATH={prefix}", f"-DSHARDCTS_TORCH_ROOT={torch}", cwd=tmp_path)


def test_target_links_and_loads_the_cuda_libraries(cuda_build, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER.format(repository=REPOSITORY, torch=cuda_build))
    (tmp_path / "consumer.cc").write_text(PROGRAM)
    # As linkers of some distributions do without being asked.
    succeed("cmake", "-B", "build", "-G", "Ninja", "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed", cwd=tmp_path)
    succeed("cmake", "--build", "build", cwd=tmp_path)
    succeed("build/consumer", cwd=tmp_path)


@pytest.mark.parametrize("must_be_cuda", ["OFF", "ON"])
def test_source_tree_is_configured(python_with_cuda_build, tmp_path, must_be_cuda):
    succeed("cmake", "-S", REPOSITORY, "-B", tmp_path / "build", "-G", "Ninja", f"-DSHARDCTS_CUDA={must_be_cuda}",
            f"-DSHARDCTS_PYTHON={python_with_cuda_build}", cwd=tmp_path)
    rules = (tmp_path / "build/build.ninja").read_text()
    assert str(tmp_path / "venv") in rules and "libtorch_cuda.so" in rules
    assert "nccl_gpu_test_8_gpus" in (tmp_path / "build/harness/comm/CTestTestfile.cmake").read_text()


@pytest.mark.skipif((TORCH / "lib/libtorch_cuda.so").exists(), reason="this PyTorch is a CUDA build")
def test_preset_cuda_refuses_a_build_for_the_cpu(tmp_path):
    done = call("cmake", "-S", REPOSITORY, "-B", tmp_path / "build", "-G", "Ninja", "-DSHARDCTS_CUDA=ON",
                f"-DSHARDCTS_PYTHON={sys.executable}", cwd=tmp_path)
    assert done.returncode == 1 and "has no CUDA build of PyTorch" in done.stdout, done.stdout


def test_installed_package_builds_an_implementation(cuda_build, prefix, tmp_path):
    done = configure_example(prefix, cuda_build, tmp_path)
    assert done.returncode == 0, done.stdout
    succeed("cmake", "--build", tmp_path / "example", cwd=tmp_path)
    assert "[libtorch_cuda.so]" in succeed("readelf", "-d", tmp_path / "example/row_sharding.so", cwd=tmp_path)


def test_installed_package_refuses_another_version(cuda_build, prefix, tmp_path):
    version = cuda_build / "include/torch/headeronly/version.h"
    text = version.read_text()
    (cuda_build / "include").unlink()
    version.parent.mkdir(parents=True)
    version.write_text(text.replace('"2.', '"9.'))
    done = configure_example(prefix, cuda_build, tmp_path)
    assert done.returncode == 1, done.stdout
    assert f"{cuda_build}: LibTorch 9." in message_of(done) and "ShardCTS was built with 2." in message_of(done)


def test_a_folder_that_is_no_libtorch_is_refused(prefix, tmp_path):
    done = configure_example(prefix, tmp_path / "nothing", tmp_path)
    assert done.returncode == 1, done.stdout
    assert f"{tmp_path}/nothing: not a PyTorch that ShardCTS can be built with" in message_of(done)
