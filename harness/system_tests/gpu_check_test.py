"""ci/gpu_check.sh without a GPU: its table on hostdev, its time limit, and what it refuses."""

import json
import os
import subprocess
import sys

import pytest

from conftest import BUILD, REPOSITORY

sys.path.insert(0, str(REPOSITORY / "ci"))

import gpu_check  # noqa: E402

ONE = "*test_cached_state_dict/world_size=2,mlp_dim=2,mutate_after_state_dict=false"
BUILT = ("--device", "hostdev", "--no-build", "--build", str(BUILD), "--world", "2", "--filter", ONE)


def check(tmp_path, *words, **environment):
    return subprocess.run([REPOSITORY / "ci/gpu_check.sh", "--out", tmp_path / "out", *words], text=True, timeout=280,
                          capture_output=True, check=False,
                          env={**os.environ, "SHARDCTS_PYTHON": sys.executable, **environment})


def rows(out: str) -> dict[str, str]:
    """what -> outcome and detail, of the table at the end of the output."""
    lines = out[out.index("what  "):].splitlines()
    at = lines[0].index("seconds")
    return {line[:at].strip(): line[at + 7:].strip() for line in lines[1:] if not line.startswith("  ")}


def test_the_table_on_the_emulated_accelerator(tmp_path):
    done = check(tmp_path, *BUILT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "device hostdev: no result of a GPU" in done.stdout
    found = rows(done.stdout)
    assert found["nccl_gpu_test, world 1 (emulator)"].startswith("ok")
    assert found["torch,device=hostdev,share=yes,backend=hostlocal, world 2"].split() == ["ok", "1", "pass"]
    assert found["reference,device=hostdev,comm=staged, world 2"].split() == ["ok", "1", "pass"]
    assert (tmp_path / "out/table.txt").read_text() in done.stdout


def test_a_failure_is_in_the_table_and_in_the_exit_code(tmp_path):
    done = check(tmp_path, *BUILT, SHARDCTS_HOSTDEV_FAIL="0:1")
    assert done.returncode == 1, done.stdout + done.stderr
    found = rows(done.stdout)
    assert found["torch,device=hostdev,share=yes,backend=hostlocal, world 2"].startswith("fails")
    assert "  torch,device=hostdev,share=yes,backend=hostlocal, world 2: " in done.stdout  # the test and its reason


def test_what_has_no_time_is_not_green(tmp_path):
    done = check(tmp_path, *BUILT, "--limit", "0.2", "--least", "1")
    assert done.returncode == 3, done.stdout + done.stderr
    assert set(rows(done.stdout).values()) == {"no time"}


@pytest.mark.parametrize("words, says", [
    (["--device", "Cuda"], "--device 'Cuda': not a device type"),
    (["--device", "tpu", "--no-build", "--build", str(BUILD)], "no tpu device here: PyTorch finds none"),
    (["--device", "tpu", "--import", "no_such", "--no-build", "--build", str(BUILD)],
     "module no_such cannot be imported"),
    (["--device", "cpu", "--no-build", "--build", "nowhere"], "--no-build: there is no shardcts in nowhere"),
    (["--device", "cpu", "--limit", "0"], "--limit 0: not a time"),
])
def test_wrong_input_is_one_line(tmp_path, words, says):
    done = check(tmp_path, *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert done.stderr.startswith(f"gpu_check: {says}")


def test_a_machine_without_a_new_cmake_is_one_line(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/cmake").write_text("#!/bin/sh\necho 'cmake version 3.22.1'\n")
    (tmp_path / "bin/cmake").chmod(0o755)
    done = check(tmp_path, "--device", "cpu", "--build", tmp_path / "build", "--parts", tmp_path / "parts",
                 PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == 2, done
    assert done.stderr == (f"gpu_check: there is no cmake here that is new enough, and none in {tmp_path}/parts "
                           "(ci/gpu_check.sh --prepare)\n")


def test_another_file_than_the_pinned_one_is_not_taken_along(tmp_path):
    table = json.loads((REPOSITORY / "cmake/third_party.json").read_text())
    name, entry = next(iter(table.items()))
    (tmp_path / f"{name}-{entry['url'].rpartition('/')[2]}").write_text("another")
    done = check(tmp_path, "--prepare", "--parts", tmp_path / "parts", SHARDCTS_ARCHIVES=str(tmp_path))
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"gpu_check: {name}: ") and entry["sha256"] in done.stderr
    assert done.stderr.count("\n") == 1


def test_ranks_share_the_gpu():
    """On a GPU: NCCL where a rank is alone, else what carries tensors over the host."""
    options = gpu_check.arguments(["--device", "cuda"])
    assert [gpu_check.implementation(options, name, world) for name in ("torch", "reference") for world in (1, 2)] == [
        "torch,device=cuda", "torch,device=cuda,share=yes,backend=local",
        "reference,device=cuda", "reference,device=cuda,comm=staged"]


def test_long_lists_of_failures_are_cut():
    row = gpu_check.Row("x", 1, "fails", "12 fail", [f"fail {number}" for number in range(12)])
    lines = gpu_check.table([row]).splitlines()
    assert lines[2] == "  x: fail 0" and lines[-1] == "  x: 2 more" and len(lines) == 13
