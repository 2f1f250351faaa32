"""The build backend: scikit-build-core, after a look at what it needs. What is missing is one line, not a log of CMake.

PyTorch comes first: ShardCTS is built against the one that is installed, so pip's isolated environment is of no use.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
from importlib import util
from pathlib import Path

OLDEST_TORCH = (2, 11)
OLDEST_CMAKE = (3, 25)
PYTHONS = ((3, 11), (3, 13))
INSTALL = "pip install --no-build-isolation"


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def torch_problem() -> str:
    """PyTorch's version is read from its file: to import it takes seconds, and may fail for reasons of its own."""
    spec = util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return f"there is no PyTorch in {sys.prefix}: install one there first (pip install torch), then {INSTALL} ."
    folder = Path(spec.submodule_search_locations[0])
    version = runpy.run_path(str(folder / "version.py"))["__version__"]
    if numbers(version) < OLDEST_TORCH:
        return f"PyTorch {version} in {folder}: ShardCTS needs {dotted(OLDEST_TORCH)} or newer (docs/versions.md)"
    return ""


def python_problem() -> str:
    oldest, newest = PYTHONS
    if not oldest <= sys.version_info[:2] <= newest:
        return f"Python {dotted(sys.version_info[:2])}: ShardCTS needs {dotted(oldest)} to {dotted(newest)}"
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").exists():
        return f"no Python.h in {include}: install Python's headers (Debian's python3-dev)"
    folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), f"{sys.base_prefix}/lib"]
    library = f"libpython{dotted(sys.version_info[:2])}.so"
    if not any(Path(folder, library).exists() for folder in folders if folder):
        return f"{sys.executable} has no {library}: ShardCTS embeds Python (Debian's python3-dev brings it)"
    return ""


def cmake_problem() -> str:
    program = os.environ.get("CMAKE_EXECUTABLE") or shutil.which("cmake")
    missing = f"{INSTALL} 'cmake>={dotted(OLDEST_CMAKE)}'"
    if program is None:
        return f"there is no CMake: {missing}"
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} --version: {error}"
    version = re.search(r"version ([\d.]+)", done.stdout)
    if done.returncode != 0 or not version:
        return f"{program} --version: exit code {done.returncode}: {(done.stdout + done.stderr).strip()[:200]}"
    if numbers(version[1]) < OLDEST_CMAKE:
        return f"CMake {version[1]} ({program}) is too old: {missing}"
    return ""


def tool_problem() -> str:
    if util.find_spec("scikit_build_core") is None:
        return f"there is no scikit-build-core in {sys.prefix}: pip install scikit-build-core, then {INSTALL} ."
    if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None and shutil.which("g++") is None:
        return "there is no C++ compiler (c++, g++ or what CXX names); GCC 12 or newer is needed"
    if shutil.which("ninja") is None and shutil.which("ninja-build") is None and shutil.which("make") is None:
        return "there is neither Ninja nor make: pip install ninja"
    return ""


def check() -> None:
    for problem in (torch_problem, python_problem, tool_problem, cmake_problem):
        text = problem()
        if text:
            sys.exit(f"shardcts cannot be built: {text}")


def backend():
    import scikit_build_core.build

    return scikit_build_core.build


def get_requires_for_build_wheel(config_settings=None):
    check()
    return backend().get_requires_for_build_wheel(config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    check()
    return backend().build_wheel(wheel_directory, config_settings, metadata_directory)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    check()
    return backend().prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def get_requires_for_build_sdist(config_settings=None):
    return []


def build_sdist(sdist_directory, config_settings=None):
    return backend().build_sdist(sdist_directory, config_settings)
