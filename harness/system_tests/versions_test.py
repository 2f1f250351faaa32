"""ci/conformance.sh --torch: a clone for each version, one page; the runs themselves are made by a script in their place."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "reports/tests"))
import example_run  # noqa: E402

CONFORMANCE = """#!/usr/bin/env bash
set -e
cd "$(dirname "$0")/.."
version="${SHARDCTS_TORCH#torch==}"
echo "$SHARDCTS_TORCH $*" >asked
mkdir -p out/conformance .venv/bin build
cp "$RESULTS/$version.json" out/conformance/results.json
printf '#!/bin/sh\\nexec %s "$@"\\n' "$PYTHON" >.venv/bin/python
printf '#!/bin/sh\\necho "$@"\\n' >build/shardcts
chmod +x .venv/bin/python build/shardcts
exit "$(cat "$RESULTS/$version.code")"
"""


@pytest.fixture
def tree(tmp_path):
    """A repository with the script, the reports and a conformance.sh that copies what `results` says."""
    (tmp_path / "ci").mkdir()
    shutil.copy(REPOSITORY / "ci/versions.sh", tmp_path / "ci/versions.sh")
    (tmp_path / "ci/conformance.sh").write_text(CONFORMANCE)
    (tmp_path / "ci/conformance.sh").chmod(0o755)
    (tmp_path / ".gitignore").write_text("reports\nreport\nout\n.venv\nbuild\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
        subprocess.run(git + words, cwd=tmp_path, check=True, timeout=30)
    (tmp_path / "reports").symlink_to(REPOSITORY / "reports")
    return tmp_path


def run_of(tree, version, verdict, code):
    (tree / "out/results").mkdir(parents=True, exist_ok=True)
    document = example_run.finish([example_run.make_test("torch", verdict)])
    document["run"]["environment"]["torch"] = version
    (tree / f"out/results/{version}.json").write_text(json.dumps(document))
    (tree / f"out/results/{version}.code").write_text(str(code))


def call(tree, *arguments):
    environment = {**os.environ, "RESULTS": str(tree / "out/results"), "PYTHON": sys.executable}
    return subprocess.run(["ci/versions.sh", *arguments], cwd=tree, env=environment, capture_output=True, text=True,
                          timeout=60, check=False)


def test_each_version_has_a_clone_and_the_page_a_column(tree):
    run_of(tree, "2.13.0", "pass", 0)
    run_of(tree, "2.14.1", "fail", 1)
    done = call(tree, "2.13.0,2.14.1", "--world", "2")
    assert done.returncode == 1, done.stderr
    assert (tree / "out/versions/2.14.1/asked").read_text() == "torch==2.14.1 --world 2\n"
    page = (tree / "report/versions.md").read_text()
    assert "| 2.13.0 | 2.14.1 |" in page and "pass → fail in 1 of its tests" in page
    assert "--expected torch --actual torch" in done.stdout


def test_a_run_that_is_no_result_ends_it(tree):
    run_of(tree, "2.13.0", "pass", 2)
    done = call(tree, "2.13.0,2.14.1")
    assert done.returncode == 2
    assert not (tree / "out/versions/2.14.1").exists() and not (tree / "report").exists()


@pytest.mark.parametrize("versions", ["", "2", "2.13.0,,2.14.1", "2.13.0,main", "torch==2.13.0", "../2.13.0"])
def test_wrong_list(tree, versions):
    done = call(tree, versions)
    assert done.returncode == 2 and "is no version of PyTorch; as in 2.13.0,2.14.1" in done.stderr
    assert not (tree / "out").exists()
