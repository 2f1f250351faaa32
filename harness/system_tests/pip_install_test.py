"""What pip makes of the tree: the package's metadata, its tree beside PyTorch, its commands from a foreign folder, and
what the build backend refuses. pip's own build, which takes long, is in ci/nightly.sh."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conftest import BUILD, CACHED, REPOSITORY, results

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
ENTRY = "import sys; from shardcts_installed import {0}; sys.argv[0] = 'x'; {0}()"


def call(*words, cwd, code=0, **environment) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, env={**os.environ, "NO_COLOR": "1", **environment},
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200, check=False)
    assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder like site-packages with what a wheel holds."""
    folder = tmp_path_factory.mktemp("site-packages")
    call("cmake", "--install", BUILD, "--prefix", folder / "shardcts_installed", cwd=folder)
    for source in PROJECT["tool"]["scikit-build"]["wheel"]["packages"]:
        shutil.copytree(REPOSITORY / source, folder / Path(source).name, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_commands_work_from_a_foreign_folder(site, tmp_path):
    """The build folder is not asked: the program that runs is the installed one, and so are the files that it reads."""
    def command(entry, *words, code=0):
        return call(sys.executable, "-B", "-c", ENTRY.format(entry), *words, cwd=tmp_path, code=code,
                    PYTHONPATH=str(site), SHARDCTS_PYTHON="")

    assert "world_size=2" in command("run_program", "list", "--filter", CACHED.format(2))
    said = command("run_program", "run", "--impl", "reference", "--impl", "torch", "--filter", CACHED.format(2),
                   "--out", "out")
    run = results(tmp_path / "out")
    assert run.verdicts == ["pass"] * 8, said
    assert run.document["run"]["command"].startswith("shardcts run")
    command("run_report", "out", "--out", "pages")
    assert (tmp_path / "pages/index.html").exists()
    assert "no such file" in command("run_report", "nothing", code=2).lower()
    assert "unknown implementation" in command("run_program", "run", "--impl", "x", "--out", "o", code=2)


def test_a_package_that_lost_its_program_says_so(tmp_path):
    shutil.copytree(REPOSITORY / "packaging/shardcts_installed", tmp_path / "shardcts_installed")
    said = call(sys.executable, "-B", "-c", ENTRY.format("run_program"), cwd=tmp_path, code=1)
    program = tmp_path / "shardcts_installed/bin/shardcts"
    assert said == f"shardcts: {program}: No such file or directory; install the package again\n"


def test_no_library_names_the_build_folder(site):
    """Libraries are found in the package, beside it, and where LibTorch is."""
    installed = site / "shardcts_installed"
    files = [*installed.glob("bin/*"), *installed.rglob("*.so")]
    assert len(files) >= 8
    for file in files:
        paths = re.search(r"RUNPATH\D*\[(.*)\]", call("readelf", "-d", file, cwd=site))
        assert paths, file
        assert not [folder for folder in paths[1].split(":") if folder.startswith(str(BUILD))], (file, paths[1])
        assert paths[1].startswith("$ORIGIN/"), (file, paths[1])


def test_metadata_agree_with_the_tree():
    project = PROJECT["project"]
    version = PROJECT["tool"]["scikit-build"]["metadata"]["version"]
    found = re.search(version["regex"], (REPOSITORY / version["input"]).read_text())
    assert found and re.fullmatch(r"\d+\.\d+\.\d+", found["value"])
    required = set((REPOSITORY / "ci/requirements.txt").read_text().splitlines())
    assert set(project["dependencies"]) - {"torch>=2.11"} <= required
    for target in project["scripts"].values():
        module, function = target.split(":")
        assert f"def {function}(" in (REPOSITORY / "packaging" / module / "__init__.py").read_text()
    presets = json.loads((REPOSITORY / "CMakePresets.json").read_text())["configurePresets"]
    release = next(preset for preset in presets if preset["name"] == "release")["cacheVariables"]
    assert PROJECT["tool"]["scikit-build"]["cmake"]["define"].items() <= release.items()


@pytest.mark.skipif(importlib.util.find_spec("scikit_build_core") is None, reason="no scikit-build-core")
def test_the_backend_makes_the_metadata(tmp_path):
    code = "import shardcts_build_backend as b; print(b.prepare_metadata_for_build_wheel(__import__('sys').argv[1]))"
    folder = call(sys.executable, "-B", "-c", code, tmp_path, cwd=REPOSITORY, PYTHONPATH="packaging").split()[-1]
    entries = (tmp_path / folder / "entry_points.txt").read_text()
    assert "shardcts = shardcts_installed:run_program" in entries
    assert "shardcts-report = shardcts_installed:run_report" in entries
    assert "Name: shardcts\n" in (tmp_path / folder / "METADATA").read_text()


@pytest.mark.parametrize("hidden, says", [("include", "no Python.h in "), ("library", "has no libpython")])
def test_a_python_that_cannot_be_embedded_is_one_line(tmp_path, hidden, says):
    code = """if True:
        import sys, sysconfig, shardcts_build_backend as backend
        if sys.argv[1] == "include":
            sysconfig.get_path = lambda name: "/nowhere"
        else:
            sysconfig.get_config_var, sys.base_prefix = lambda name: None, "/nowhere"
        print(backend.python_problem())
    """
    said = call(sys.executable, "-B", "-c", code, hidden, cwd=tmp_path, PYTHONPATH=str(REPOSITORY / "packaging"))
    assert says in said and len(said.splitlines()) == 1
    assert not call(sys.executable, "-B", "-c", "import shardcts_build_backend as b; print(b.python_problem(), end='')",
                    cwd=tmp_path, PYTHONPATH=str(REPOSITORY / "packaging"))


# What is in place: a PyTorch (its version), a CMake (its version), scikit-build-core; and what the backend says.
REFUSED = [
    (None, "3.25.1", True, "there is no PyTorch in {prefix}: install one there first"),
    ("2.9.1+cpu", "3.25.1", True, "PyTorch 2.9.1+cpu in {folder}/torch: ShardCTS needs 2.11 or newer"),
    ("2.13.0", "3.25.1", False, "there is no scikit-build-core in {prefix}: pip install scikit-build-core"),
    ("2.13.0", "3.20.6", True,
     "CMake 3.20.6 ({folder}/bin/cmake) is too old: pip install --no-build-isolation 'cmake>=3.25'"),
    ("2.13.0", "?", True, "{folder}/bin/cmake --version: exit code 0: cmake version ?"),
]


@pytest.mark.parametrize("torch, cmake, has_backend, says", REFUSED)
def test_what_is_missing_is_one_line(tmp_path, torch, cmake, has_backend, says):
    for name, text in (("torch/version.py", torch and f"__version__ = '{torch}'\n"),
                       ("torch/__init__.py", torch and ""),
                       ("scikit_build_core/__init__.py", "" if has_backend else None),
                       ("bin/cmake", f"#!/bin/sh\necho 'cmake version {cmake}'\n")):
        if text is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
    code = "import shardcts_build_backend as b; b.build_wheel('.')"
    said = call(sys.executable, "-S", "-B", "-c", code, cwd=tmp_path, code=1,
                PATH=f"{tmp_path}/bin:{os.environ['PATH']}", PYTHONPATH=f"{tmp_path}:{REPOSITORY / 'packaging'}")
    assert said.startswith("shardcts cannot be built: " + says.format(folder=tmp_path, prefix=sys.base_prefix)), said
    assert len(said.splitlines()) == 1, said
