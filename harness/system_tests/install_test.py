"""An installation: complete without the source tree, and enough to build and run implementations outside of it."""

import os
import subprocess

import pytest

from conftest import BUILD, CACHED, REPOSITORY, results

EXAMPLES = REPOSITORY / "docs/examples"
PASSES = "fully_shard_state_dict/TestFullyShardStateDictMultiThread.test_rank0_offload_full_state_dict/world_size=2"


def call(*words, cwd) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, env={**os.environ, "NO_COLOR": "1"}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=280, check=False)
    assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def commands_of_the_readme(part: str) -> list[str]:
    """The lines of code from a heading in bold to the next paragraph."""
    text = (REPOSITORY / "README.md").read_text()
    block = text[text.index(f"**{part}:**"):].split("\n\n")[1]
    assert all(line.startswith("    ") for line in block.splitlines()), block
    return [line.strip() for line in block.splitlines()]


@pytest.fixture
def checkout(tmp_path):
    """What the README's commands find: the examples and a build."""
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs")
    (tmp_path / "build").symlink_to(BUILD)
    return tmp_path


@pytest.mark.parametrize("language, label, out", [
    ("In Python", "python:gather_only:GatherOnly", "out/python"), ("In C++", "out/example/row_sharding.so", "out/cpp")])
def test_examples_pass_one_test_and_say_that_the_rest_is_not_supported(checkout, language, label, out):
    for command in commands_of_the_readme(language):
        call("bash", "-euc", command, cwd=checkout)
    run = results(checkout / out)
    assert [test["id"] for test in run.tests if test["verdict"] == "pass"] == [PASSES]
    assert {test["verdict"] for test in run.tests} == {"pass", "not_supported"}
    assert run.document["implementations"][0]["label"] == label

    call("build/shardcts", "report", out, cwd=checkout)
    summary = (checkout / out / "report/summary.md").read_text()
    assert f"* `{label}`" in summary
    assert f"{run.verdicts.count('not_supported')} are not supported" in summary


@pytest.mark.parametrize("example", ["cpp/row_sharding.cc", "python/gather_only.py"])
def test_examples_are_short(example):
    assert len((EXAMPLES / example).read_text().splitlines()) <= 60


def test_installation_can_be_moved_and_needs_no_source_tree(tmp_path):
    """Sources and build folder are hidden; LibTorch and Python stay where they are."""
    folders = [REPOSITORY / "harness", REPOSITORY / "reports", REPOSITORY / "fixtures", BUILD]
    hide = " && ".join(f"mount -t tmpfs none '{folder}'" for folder in folders)
    hidden = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*hidden, hide], capture_output=True, check=False).returncode != 0:
        pytest.skip("mount namespaces are not permitted here")
    call("cmake", "--install", BUILD, "--prefix", tmp_path / "first", cwd=tmp_path)
    (tmp_path / "first").rename(tmp_path / "moved")
    program = tmp_path / "moved/bin/shardcts"
    run = f"{program} run --impl reference --impl torch --filter '{CACHED.format(2)}' --out out"
    call(*hidden, f"{hide} && {run} && {program} report out", cwd=tmp_path)
    assert results(tmp_path / "out").verdicts == ["pass"] * 8
    assert len(results(tmp_path / "out").document["run"]["suite_commit"]) >= 40
    assert (tmp_path / "out/report/index.html").exists()
