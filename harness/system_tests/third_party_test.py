"""Libraries that are fetched while CMake configures: by checksum, from a folder of archives, or not at all."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile

import pytest

from conftest import REPOSITORY

# What stands in for each library: a file of its archive.
ARCHIVED = {
    "CLI11": {"include/CLI/CLI.hpp": ""},
    "googletest": {f"google{part}/src/{name}.cc": "" for part, name in (("test", "gtest-all"), ("test", "gtest_main"),
                                                                       ("mock", "gmock-all"))},
    "zlib": {f"{name}.c": "" for name in ("adler32", "compress", "crc32", "deflate", "infback", "inffast", "inflate",
                                          "inftrees", "trees", "uncompr", "zutil")},
    "libzip": {"CMakeLists.txt": "add_library(zip INTERFACE)\ntarget_link_libraries(zip INTERFACE ZLIB::ZLIB)\n"},
}

PROJECT = """cmake_minimum_required(VERSION 3.25)
project(Fetching LANGUAGES C CXX)
find_package(Threads REQUIRED)
include({module})
message(STATUS "fetched: ${{SHARDCTS_FETCHED}}")
"""


@pytest.fixture
def project(tmp_path):
    """A project with the table of the tree, but small files and their checksums; the files are in `archives`."""
    table = json.loads((REPOSITORY / "cmake/third_party.json").read_text())
    for folder in ("archives", "source/cmake", "build"):
        (tmp_path / folder).mkdir(parents=True)
    for name, entry in table.items():
        archive = tmp_path / "archives" / f"{name}-{entry['url'].rpartition('/')[2]}"
        if "save_as" in entry:
            archive.write_text(f"// {name}\n")
        else:
            content = tmp_path / "content" / f"{name}-1"
            for file, text in ARCHIVED[name].items():
                (content / file).parent.mkdir(parents=True, exist_ok=True)
                (content / file).write_text(text)
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(content, content.name)
        entry["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    (tmp_path / "source/cmake/third_party.json").write_text(json.dumps(table))
    module = REPOSITORY / "cmake/ShardctsThirdParty.cmake"
    (tmp_path / "source/CMakeLists.txt").write_text(PROJECT.format(module=module))
    return tmp_path


def configure(project, *options) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if name != "SHARDCTS_ARCHIVES"}
    words = ["cmake", "-S", "source", "-B", "build", f"-DSHARDCTS_ARCHIVES={project / 'archives'}", *options]
    done = subprocess.run(words, cwd=project, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=100, check=False)
    return done.returncode, " ".join(done.stdout.split())  # CMake breaks lines


def test_everything_can_be_fetched_and_only_once(project):
    code, said = configure(project, "-DSHARDCTS_THIRD_PARTY=fetch")
    assert code == 0, said
    assert "fetched: nlohmann_json;CLI11;tomlplusplus;xxhash;googletest;zlib;libzip" in said
    assert (project / "build/third_party/nlohmann_json/nlohmann/json.hpp").read_text() == "// nlohmann_json\n"
    assert (project / "build/third_party/tomlplusplus/toml++/toml.h").exists()
    shutil.rmtree(project / "archives")
    code, said = configure(project)
    assert code == 0, said


def test_another_file_than_the_one_that_was_pinned_is_refused(project):
    archive, = (project / "archives").glob("CLI11-*")
    archive.write_bytes(archive.read_bytes() + b"more")
    code, said = configure(project, "-DSHARDCTS_THIRD_PARTY=fetch")
    table = json.loads((project / "source/cmake/third_party.json").read_text())
    assert code != 0
    assert table["CLI11"]["sha256"] in said and hashlib.sha256(archive.read_bytes()).hexdigest() in said, said


@pytest.mark.parametrize("options, missing, says", [
    (["-DSHARDCTS_THIRD_PARTY=fetch"], "googletest", "googletest cannot be fetched from file://"),
    (["-DSHARDCTS_THIRD_PARTY=installed", "-DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON"], None,
     "CLI11 is not installed (ci/setup.sh installs it; SHARDCTS_THIRD_PARTY=auto fetches it)"),
    (["-DSHARDCTS_THIRD_PARTY=never"], None, "SHARDCTS_THIRD_PARTY=never: possible: auto, fetch, installed"),
])
def test_what_cannot_be_had_is_named(project, options, missing, says):
    if missing:
        next((project / "archives").glob(f"{missing}-*")).unlink()
    code, said = configure(project, *options)
    assert code != 0
    assert says in said, said


def test_the_table_names_releases_and_checksums():
    for name, entry in json.loads((REPOSITORY / "cmake/third_party.json").read_text()).items():
        assert entry["url"].startswith("https://") and "/v" in entry["url"], name
        assert len(entry["sha256"]) == 64 and entry["size_kb"] > 0, name
