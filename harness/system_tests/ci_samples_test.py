"""The samples for CI systems: well formed, all their commands exist, and what can run without that system is run."""

import os
import platform
import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from conftest import BUILD, REPOSITORY, results

SAMPLES = REPOSITORY / "ci/samples"
ONE = "fully_shard_state_dict/TestFullyShardStateDictMultiThread.test_rank0_offload_full_state_dict/world_size=2"


def run(*words, cwd=REPOSITORY, **environment) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in words], cwd=cwd, env={**os.environ, **environment}, text=True,
                          capture_output=True, timeout=280, check=False)


def github_commands() -> list[str]:
    workflow = yaml.safe_load((SAMPLES / "github-actions.yml").read_text())
    assert workflow[True].keys() == {"push", "pull_request"}  # YAML reads `on` as true
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def gitlab_commands() -> list[str]:
    pipeline = yaml.safe_load((SAMPLES / "gitlab-ci.yml").read_text())
    return [command for job in ("conformance", "mine") for command in pipeline[job]["script"]]


def nightly_commands() -> list[str]:
    workflow = yaml.safe_load((SAMPLES / "github-nightly.yml").read_text())
    assert workflow[True].keys() == {"schedule"}
    return [step["run"] for step in workflow["jobs"]["nightly"]["steps"] if "run" in step]


COMMANDS = [*github_commands(), *gitlab_commands(), *nightly_commands()]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_shell_and_name_files_of_the_tree(command):
    command = re.sub(r"\${{.*?}}", "1/2", command)
    assert run("bash", "-n", "-c", command).returncode == 0
    for path in re.findall(r"(?:\./)?((?:ci|docs)/[\w./-]+)", command):
        assert (REPOSITORY / path).exists(), path


def test_both_services_run_the_two_things():
    for commands in (github_commands(), gitlab_commands()):
        assert any("./ci/conformance.sh" in command for command in commands)
        assert any("python:gather_only:GatherOnly" in command for command in commands)


@pytest.mark.parametrize("commands", [github_commands(), gitlab_commands()], ids=["github", "gitlab"])
def test_command_for_ones_own_implementation_runs(commands, tmp_path):
    """Where the sample says, with the build under test in its place."""
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs")
    (tmp_path / "build").symlink_to(BUILD)
    mine = [command for command in commands if "conformance" not in command and "out/mine" in command]
    for command in mine:
        done = run("bash", "-euc", command, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "report/mine/junit.xml").exists()


@pytest.mark.parametrize("commands", [github_commands(), gitlab_commands()], ids=["github", "gitlab"])
def test_a_red_run_has_a_report(commands, tmp_path):
    (tmp_path / "build").symlink_to(BUILD)
    (command,) = [command for command in commands if "conformance" not in command and "run --impl" in command]
    mine = re.search(r"run (--impl .*) --out", command)[1]
    done = run("bash", "-euc", command.replace(mine, f"--impl reference+mutant=tied_alias_dropped --filter {ONE}"), cwd=tmp_path)
    assert done.returncode == 1, done
    assert (tmp_path / "report/mine/junit.xml").exists()


@pytest.mark.parametrize("commands", [github_commands(), gitlab_commands()], ids=["github", "gitlab"])
def test_the_gate_is_red_where_something_got_worse(commands, tmp_path):
    """The sample compares with the run before: the same one is green, one in which a test passed that now fails is red."""
    (tmp_path / "build").symlink_to(BUILD)
    gate = [command for command in commands if "baseline" in command]
    one = ("run", "--filter", ONE, "--out", "out/mine")
    assert run(BUILD / "shardcts", *one, "--impl", "reference", cwd=tmp_path).returncode == 0
    for _ in range(2):
        assert [run("bash", "-euc", command, cwd=tmp_path).returncode for command in gate] == [0] * len(gate)
    assert run(BUILD / "shardcts", *one, "--impl", "reference+mutant=tied_alias_dropped", cwd=tmp_path).returncode == 1
    done = run("bash", "-euc", gate[0], cwd=tmp_path)
    assert done.returncode == 1 and "Newly failing" in done.stdout, done


def test_the_nightly_sample_keeps_a_history(tmp_path):
    """Of red nights, too, in which the step before has failed; the night after is compared with the red one."""
    (tmp_path / "build").symlink_to(BUILD)
    one = ("run", "--filter", ONE, "--out", "out/conformance", "--impl")
    nights = [("reference", 0, ""), ("reference", 0, "nothing got worse"), ("reference+mutant=tied_alias_dropped", 1, "Newly failing"),
              ("reference+mutant=tied_alias_dropped", 0, "nothing got worse")]
    for impl, code, said in nights:
        run(BUILD / "shardcts", *one, impl, cwd=tmp_path)
        done = run("bash", "-euc", nightly_commands()[-1], cwd=tmp_path)
        assert done.returncode == code, done
        assert not said or said in (tmp_path / "report/diff.md").read_text()
    assert len((tmp_path / "nightly/history.jsonl").read_text().splitlines()) == 4
    steps = yaml.safe_load((SAMPLES / "github-nightly.yml").read_text())["jobs"]["nightly"]["steps"]
    assert all("cancelled" in step["if"] for step in steps if "history" in step.get("run", "") or "save" in step.get("uses", ""))


# One node of an allocation: runs what Hydra asks for, its proxy, at once.
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift $([[ $1 == *=* ]] && echo 1 || echo 2); done
SLURM_NODEID=0 exec "$@"
"""


def test_slurm_script_runs_where_srun_is_played(tmp_path):
    (tmp_path / "build").symlink_to(BUILD)
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    done = run("bash", SAMPLES / "slurm.sbatch", "--impl", "reference", "--filter", ONE, cwd=tmp_path,
               PATH=f"{tmp_path}:{os.environ['PATH']}", SLURM_SUBMIT_DIR=str(tmp_path), SLURM_JOB_ID="7",
               SLURM_NODELIST=platform.node(), SLURM_NNODES="1", SLURM_NTASKS="4", SLURM_TASKS_PER_NODE="4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(tmp_path / "out/slurm-7").verdicts == ["pass"]
    assert (tmp_path / "out/slurm-7/report/index.html").exists()


def test_nightly_script_takes_its_way_on_a_cpu(tmp_path):
    done = run(REPOSITORY / "ci/nightly-gpu.sh", "--device", "cpu", "--filter", ONE, SHARDCTS_BUILD=str(BUILD),
               SHARDCTS_OUT=str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(tmp_path / "out").verdicts == ["pass", "pass"]
    assert (tmp_path / "out/report/summary.md").exists()


def test_nightly_script_takes_a_device_that_a_module_brings(tmp_path):
    """hostdev stands for it, the emulated accelerator."""
    done = run(REPOSITORY / "ci/nightly-gpu.sh", "--device", "hostdev", "--import", "shardcts_hostdev", "--filter", ONE,
               SHARDCTS_BUILD=str(BUILD), SHARDCTS_PYTHON=sys.executable, SHARDCTS_OUT=str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(tmp_path / "out").verdicts == ["pass", "pass"]


@pytest.mark.parametrize("words, said", [
    (["--device", "tpu"], "nightly-gpu: no tpu device here"),
    (["--device", "Tpu"], "nightly-gpu: --device 'Tpu': not a device type"),
    (["--device", "tpu", "--import", "no_such_module"], "nightly-gpu: module no_such_module cannot be imported"),
    pytest.param([], "nightly-gpu: no cuda device here", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU"))])
def test_nightly_script_refuses_in_one_line(words, said):
    done = run(REPOSITORY / "ci/nightly-gpu.sh", *words, SHARDCTS_BUILD=str(BUILD), SHARDCTS_PYTHON=sys.executable)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(said)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="there is no shellcheck")
def test_all_shell_scripts_pass_shellcheck():
    listed = run("git", "ls-files", "*.sh", "*.sbatch").stdout.split()
    assert "ci/nightly-gpu.sh" in listed and "ci/samples/slurm.sbatch" in listed
    done = run("shellcheck", *listed)
    assert done.returncode == 0, done.stdout
