"""The suites on hostdev, the emulated accelerator: PyTorch's adapter with a device type and a backend that are not PyTorch's
own. What is called a pass here is none of a GPU."""

from __future__ import annotations

import json
import os
import re

import pytest

from conftest import REPOSITORY, results

WRITE_BACK = "torch.distributed.fsdp._flat_param.FlatParamHandle._writeback_orig_params"
TREC = "fsdp_optim_state/TestFSDPOptimState.test_compatible_with_trec"

WORLDS = os.environ.get("SHARDCTS_HOSTDEV_WORLDS", "1,2")  # ci/nightly.sh: 1,2,4
UPSTREAM = [word for suite in ("fsdp_state_dict", "fsdp_optim_state", "state_dict", "fully_shard_state_dict")
            for word in ("--suite", suite)]


def test_the_suites_of_upstream_pass(run_shardcts):
    """All work late, on a backend that cannot split groups. World 4, of which the next test has a part, is for the night."""
    ended, run = run_shardcts("torch,device=hostdev", *UPSTREAM, "--world", WORLDS, timeout=1500)
    assert ended.code == 0, ended
    assert len(run.tests) > 300 and set(run.verdicts) == {"pass", "not_applicable", "waived"}
    (implementation,) = run.document["implementations"]
    assert "emulated" in implementation["notes"]["device_name"] and implementation["notes"]["backend"] == "hostccl"


@pytest.mark.parametrize("splitting, bind", [("1", ""), ("1", ",bind=no"), ("", ",bind=no")])
def test_groups_are_made_with_and_without_splitting(run_shardcts, monkeypatch, splitting, bind):
    monkeypatch.setenv("SHARDCTS_HOSTDEV_SPLITTING", splitting)
    ended, run = run_shardcts(f"torch,device=hostdev{bind}", *UPSTREAM, "--world", 4, "--filter", "*fully_shard*", timeout=600)
    assert ended.code == 0 and "pass" in run.verdicts, ended


def test_binding_a_group_that_cannot_be_split_is_shown(run_shardcts):
    ended, run = run_shardcts("torch,device=hostdev,bind=yes", "--world", 2, "--filter", "*mesh=HSDP,mlp_dim=3*")
    assert ended.code == 1 and set(run.verdicts) == {"fail"}, ended
    assert "does not support splitting" in run.tests[0]["reason"]


def test_the_gradient_that_no_stream_waits_for_is_found(run_shardcts):
    """A defect of PyTorch that needs work to be late (docs/deviations.md)."""
    ended, run = run_shardcts("torch,device=hostdev", "--world", 2, "--filter", TREC)
    (implementation,) = run.document["implementations"]
    assert run.verdicts == ["pass"] and [patch["target"] for patch in implementation["patches"]][:1] == [WRITE_BACK], ended
    ended, run = run_shardcts("torch,device=hostdev,grad_writeback=as_is", "--world", 2, "--filter", TREC, out="as_is")
    assert run.verdicts == ["fail"] and "nan" in run.tests[0]["reason"], ended


@pytest.mark.parametrize("options, environment, message", [
    ("device=nosuch", {}, "knows no device type 'nosuch'; import=MODULE names what brings it"),
    ("device=npu,import=no_such_module", {}, "module 'no_such_module', which is to bring device type 'npu', cannot be "
                                             "imported: ModuleNotFoundError"),
    ("device=npu,import=json", {}, "knows no device type 'npu', and module 'json' brings none of that name"),
    ("device=bare,import=bare_device", {}, "no backend is registered for device type 'bare'; backend=NAME names one"),
    ("device=bare,import=bare_device,backend=gloo", {}, "option backend=gloo: not registered for device type 'bare'"),
    ("device=hostdev,import=bare_device", {}, "knows no device type 'hostdev', and module 'bare_device' brings none of that "
                                              "name"),
    ("device=hostdev,backend=nosuch", {}, "option backend=nosuch"),
    ("device=hostdev,backend=gloo", {}, "option backend=gloo: not registered for device type 'hostdev'"),
    ("device=hostdev,bind=maybe", {}, "option bind=maybe: possible: yes, no"),
    ("device=hostdev", {"SHARDCTS_HOSTDEV_DEVICES": "1"}, "rank with local rank 1 needs hostdev:1, 1 are there; with share=yes "
                                                          "ranks share devices"),
    ("device=hostdev", {"SHARDCTS_HOSTDEV_DEVICES": "0"}, "SHARDCTS_HOSTDEV_DEVICES=0"),
    ("device=hostdev", {"SHARDCTS_HOSTDEV_FAIL": "1"}, "SHARDCTS_HOSTDEV_FAIL=1: not RANK:N"),
])
def test_bad_input_is_one_line(shardcts, monkeypatch, options, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = shardcts("run", "--impl", f"torch,{options}", "--world", 2, "--filter", "*cached*mlp_dim=2*", "--out", "out")
    assert ended.code == 2 and message in ended.err and len(ended.err.splitlines()) == 1, ended


def test_a_vendors_subclass_has_the_waivers_of_pytorch(run_shardcts, monkeypatch):
    """The command of docs/backends.md, for the test that PyTorch itself does not pass."""
    monkeypatch.setattr("conftest.ADAPTERS", (REPOSITORY / "docs/examples/python",))
    ended, run = run_shardcts("python:vendor_adapter:VendorAdapter,device=hostdev", "--world", 2,
                              "--filter", "*test_state_dict_type/*")
    assert ended.code == 3 and run.verdicts == ["waived"], ended
    assert run.document["implementations"][0]["based_on"] == "torch"


# Tests with collectives, offload and optimizers whose steps do not depend on the device type.
REPLAYED = ["*test_dp_state_dict_save_load/world_size=2,mesh=1-D,mlp_dim=3,use_shard_placement_fn=false", "*test_no_grad*",
            "*test_use_orig_params/world_size=2*"]


def test_recordings_are_replayed_on_the_other_device_type(shardcts, run_shardcts, tmp_path):
    devices = ["torch", "torch,device=hostdev"]
    _, run = run_shardcts(devices, "--world", 2, *[word for tests in REPLAYED for word in ("--filter", tests)])
    for recorded, replayed in zip(devices, reversed(devices)):
        folders = {test["id"].split("/")[1]: test["trace"] for test in run.of(recorded).tests}
        assert len(folders) == len(REPLAYED), folders
        for name, folder in folders.items():
            out = f"{name}-on-{replayed}"
            ended = shardcts("replay", tmp_path / "out" / folder, "--impl", replayed, "--out", out)
            assert ended.code == 0 and "0 differences of value, 0 of structure" in ended.out, ended


def on_any_device(reason: str) -> str:
    """Without the device, the addresses of objects, the types of tensors and whether an operator takes lists (optimizers'
    default off the CPU) in errors of PyTorch, the value that a tensor of one element is shown with where the host can read
    it, and the folder of a failed test."""
    reason = re.sub("; its folder: .*", "", re.sub("0x[0-9a-f]+", "0x…", reason))
    reason = reason.replace("aten._foreach_", "aten.")
    reason = re.sub(r"torch\.(\w+)Tensor\b|hostdev(\w+)Type\b", r"\1\2", reason)
    return re.sub(r"(hostdev|cpu)(:\d+)?", "cpu", re.sub(r" cpu = [^}\], ]+", " cpu", reason))


def test_examples_do_on_hostdev_what_they_do_on_the_cpu(shardcts, tmp_path):
    scripts = len(list((REPOSITORY / "docs/examples").glob("*.json")))
    outcomes = {}
    for out, implementation in {"cpu": "torch", "hostdev": "torch,device=hostdev"}.items():
        ended = shardcts("exec", REPOSITORY / "docs/examples", "--impl", implementation, "--out", out, timeout=600)
        tests = results(tmp_path / out).tests
        assert ended.code == 1 and len(tests) == scripts, ended
        outcomes[out] = {test["id"]: (test["verdict"], on_any_device(test.get("reason", ""))) for test in tests}
    # PyTorch asks for a CUDA device first where a rank has no shard and the backend is not gloo (docs/backends.md).
    name = "scripts/groups_into_a_rank_without_rows"
    assert "Torch not compiled with CUDA enabled" in outcomes["hostdev"].pop(name)[1] and outcomes["cpu"].pop(name)[0] == "fail"
    # Faults of PyTorch on a CPU (docs/deviations.md, SM25 and TR26).
    for name in ("scripts/forward_after_an_offloaded_scope", "scripts/dropped_offloaded_gradient"):
        assert outcomes["hostdev"].pop(name)[0] == "pass" and outcomes["cpu"].pop(name)[0] == "fail", name
    # The operators that take lists have other names: maximum.out, _foreach_maximum_.List.
    for name in ("scripts/moment_that_the_loader_lacks", "scripts/optimizer_state_beside_units"):
        for outcome in outcomes.values():
            verdict, reason = outcome.pop(name)
            assert verdict == "fail" and "got mixed torch.Tensor and DTensor" in reason, reason
    assert outcomes["hostdev"] == outcomes["cpu"]


def test_a_recording_that_names_another_device_is_refused(shardcts, tmp_path):
    script = tmp_path / "script.json"
    steps = [{"op": "model.build", "args": {"model": "mlp", "args": {"dim": 2}, "device": "cuda:1"}}]
    script.write_text(json.dumps({"contract": 1, "device": "cuda", "world_size": 1, "steps": steps}))
    ended = shardcts("exec", script, "--impl", "torch,device=hostdev", "--out", "out")
    assert ended.code == 2 and len(ended.err.splitlines()) == 1, ended
    assert "steps[0]: names device cuda:1; the script is for device type cuda, and is to run on hostdev" in ended.err
