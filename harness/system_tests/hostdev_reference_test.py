"""The reference on hostdev, the emulated accelerator: the same sources as on the CPU, tensors on the device, collectives
staged through the host. What is called a pass here is none of a GPU."""

from __future__ import annotations

import pytest

UPSTREAM = [word for suite in ("fsdp_state_dict", "fsdp_optim_state", "state_dict", "fully_shard_state_dict")
            for word in ("--suite", suite)]


def test_the_suites_of_upstream_pass(run_shardcts):
    """Worlds 1, 2 and 4, all work late."""
    ended, run = run_shardcts("reference,device=hostdev", *UPSTREAM, "--world", "1,2,4", timeout=900)
    assert ended.code == 0, ended
    assert len(run.tests) > 500 and set(run.verdicts) == {"pass", "not_applicable"}
    notes = run.document["implementations"][0]["notes"]
    assert "emulated" in notes["device_name"] and notes["communicator"] == "staged over local"


@pytest.mark.parametrize("environment, comm", [({"SHARDCTS_HOSTDEV_DEVICES": "1"}, ""), ({}, ",comm=staged"),
                                               ({"SHARDCTS_HOSTDEV_LATE": "7"}, "")])
def test_ranks_may_share_a_device(run_shardcts, monkeypatch, environment, comm):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended, run = run_shardcts(f"reference,device=hostdev{comm}", *UPSTREAM, "--world", 4, "--filter", "*fully_shard*",
                              timeout=300)
    assert ended.code == 0 and "pass" in run.verdicts, ended


@pytest.mark.parametrize("options, message", [
    ("device=hostdev,comm=local", "option comm=local carries tensors of device cpu, not of hostdev"),
    ("device=hostdev,comm=none", "reference: needs the harness's communicator"),
    ("device=hostdev,import=/nowhere/lib.so", "option import=/nowhere/lib.so: no such file"),
])
def test_bad_input_is_one_line(shardcts, options, message):
    ended = shardcts("run", "--impl", f"reference,{options}", "--world", 2, "--filter", "*cached*", "--out", "out")
    assert ended.code == 2 and message in ended.err and len(ended.err.splitlines()) == 1, ended


def test_a_recording_of_the_cpu_is_replayed_on_the_device(shardcts, run_shardcts, tmp_path):
    _, run = run_shardcts("reference", "--world", 2, "--filter", "*test_use_orig_params/world_size=2*", out="recorded")
    ended = shardcts("replay", tmp_path / "recorded" / run.tests[0]["trace"], "--impl", "reference,device=hostdev",
                     "--out", "replayed")
    assert ended.code == 0 and "0 differences of value, 0 of structure" in ended.out, ended
