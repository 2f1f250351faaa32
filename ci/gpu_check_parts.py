"""What ci/gpu_check.sh takes along to a machine without a network: files of third_party.json, CMake and Ninja,
and headers of CUDA and NCCL that PyTorch's own packages lack."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_MIB = 60
WHEELS = ("cmake>=3.25", "ninja")


class Missing(Exception):
    """Something that is needed is not there; one line."""


def site_packages() -> Path:
    return Path(sysconfig.get_path("purelib"))


def cuda_major(folder: Path) -> int:
    """Of the CUDA runtime whose headers are there; 0: none are."""
    header = folder / "cuda_runtime_api.h"
    text = header.read_text(errors="replace") if header.exists() else ""
    version = re.search(r"#define CUDART_VERSION +(\d+)", text)
    return int(version[1]) // 1000 if version else 0


def fetch(name: str, entry: dict, folder: Path) -> None:
    """A file of third_party.json, from SHARDCTS_ARCHIVES if it is there."""
    target = folder / f"{name}-{entry['url'].rpartition('/')[2]}"
    kept = Path(os.environ.get("SHARDCTS_ARCHIVES", "/nowhere")) / target.name
    try:
        content = kept.read_bytes() if kept.exists() else urllib.request.urlopen(entry["url"], timeout=60).read()
    except (urllib.error.URLError, OSError) as error:
        raise Missing(f"{name} cannot be fetched from {entry['url']}: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != entry["sha256"]:
        raise Missing(f"{name}: {entry['url']} has the SHA-256 {found}, expected {entry['sha256']}")
    target.write_bytes(content)


def copy_headers(folder: Path) -> None:
    """What ci/setup.sh has brought: headers of the CUDA runtime and of NCCL, without libraries of templates."""
    cuda = site_packages() / "nvidia/cu13/include"
    nccl = site_packages() / "nvidia/nccl/include/nccl.h"
    if not (cuda / "crt/host_defines.h").exists() or not nccl.exists():
        raise Missing(f"no headers of CUDA and NCCL in {site_packages()}: run ci/setup.sh first")
    shutil.copytree(cuda, folder / "cuda", ignore=shutil.ignore_patterns("cccl", "cooperative_groups*"))
    (folder / "nccl").mkdir(exist_ok=True)
    shutil.copy(nccl, folder / "nccl/nccl.h")


def prepare(folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "archives").mkdir(parents=True)
    table = json.loads((ROOT / "cmake/third_party.json").read_text())
    for name, entry in table.items():
        fetch(name, entry, folder / "archives")
    copy_headers(folder)
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder / "wheels", *WHEELS]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"pip cannot download {', '.join(WHEELS)}: {done.stderr.strip().splitlines()[-1]}")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
    if size > MOST_MIB:
        raise Missing(f"{folder} has {size:.0f} MiB, more than {MOST_MIB}")
    print(f"{folder}: {size:.1f} MiB")
    return 0


class Tools:
    """Programs and headers of this machine, or those that were taken along."""

    def __init__(self, parts: Path, unpacked: Path):
        self._parts = parts
        self._unpacked = unpacked

    def program(self, name: str) -> Path:
        """The machine's, if it is new enough, else out of the wheel."""
        found = shutil.which(name)
        if found and (name != "cmake" or self._is_new_enough(found)):
            return Path(found)
        wheels = sorted((self._parts / "wheels").glob(f"{name}-*.whl"))
        if not wheels:
            raise Missing(f"there is no {name} here{' that is new enough' if found else ''}, and none in {self._parts} "
                          "(ci/gpu_check.sh --prepare)")
        target = self._unpacked / name
        if not target.exists():
            with zipfile.ZipFile(wheels[-1]) as wheel:
                wheel.extractall(target)
        program = next(path for path in target.rglob(name) if path.parent.name in ("bin", "scripts"))
        program.chmod(0o755)
        return program

    @staticmethod
    def _is_new_enough(cmake: str) -> bool:
        text = subprocess.run([cmake, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"version (\d+)\.(\d+)", text)
        return version is not None and (int(version[1]), int(version[2])) >= (3, 25)

    def third_party(self) -> list[str]:
        archives = self._parts / "archives"
        return [f"-DSHARDCTS_ARCHIVES={archives}"] if archives.exists() else []

    def cuda_headers(self) -> list[str]:
        """Headers of PyTorch's packages where they are complete; else of a toolkit of the same major version; else
        PyTorch's, completed by what was taken along."""
        options = []
        toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"
        places = [site_packages() / f"nvidia/{name}/include" for name in ("cu13", "cuda_runtime")]
        of_torch = [folder for folder in places if cuda_major(folder)]
        if of_torch and (of_torch[0] / "crt/host_defines.h").exists():
            options.append(f"-DSHARDCTS_CUDART_INCLUDE={of_torch[0]}")
        elif cuda_major(toolkit) and (not of_torch or cuda_major(toolkit) == cuda_major(of_torch[0])):
            options.append(f"-DSHARDCTS_CUDART_INCLUDE={toolkit}")
        elif (self._parts / "cuda").exists():
            merged = self._unpacked / "cuda"
            shutil.rmtree(merged, ignore_errors=True)
            for source in [self._parts / "cuda", *of_torch[:1]]:  # PyTorch's own come last, and win
                shutil.copytree(source, merged, dirs_exist_ok=True)
            options.append(f"-DSHARDCTS_CUDART_INCLUDE={merged}")
        if not (site_packages() / "nvidia/nccl/include/nccl.h").exists() and (self._parts / "nccl").exists():
            options.append(f"-DSHARDCTS_NCCL_INCLUDE={self._parts / 'nccl'}")
        return options

    @staticmethod
    def lacks_nccl(build: Path) -> bool:
        """As the build folder was configured."""
        return not any("nccl_gpu_test" in line for line in (build / "build.ninja").read_text().splitlines())
