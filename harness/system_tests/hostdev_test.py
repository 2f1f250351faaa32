"""The suites on hostdev, the emulated accelerator: PyTorch's adapter with a device type and a backend that are not PyTorch's
own. What is called a pass here is none of a GPU."""

from __future__ import annotations

import pytest

WRITE_BACK = "torch.distributed.fsdp._flat_param.FlatParamHandle._writeback_orig_params"
TREC = "fsdp_optim_state/TestFSDPOptimState.test_compatible_with_trec"


def test_all_suites_pass(run_shardcts):
    """Worlds 1, 2 and 4, all work late, on a backend that cannot split groups."""
    ended, run = run_shardcts("torch,device=hostdev", "--world", "1,2,4", timeout=1500)
    assert ended.code == 0, ended
    assert len(run.tests) > 500 and set(run.verdicts) == {"pass", "not_applicable", "waived"}
    (implementation,) = run.document["implementations"]
    assert "emulated" in implementation["notes"]["device_name"] and implementation["notes"]["backend"] == "hostccl"


@pytest.mark.parametrize("splitting, bind", [("1", ""), ("1", ",bind=no"), ("", ",bind=no")])
def test_groups_are_made_with_and_without_splitting(run_shardcts, monkeypatch, splitting, bind):
    monkeypatch.setenv("SHARDCTS_HOSTDEV_SPLITTING", splitting)
    ended, run = run_shardcts(f"torch,device=hostdev{bind}", "--world", "2,4", "--filter", "*fully_shard*", timeout=600)
    assert ended.code == 0 and "pass" in run.verdicts, ended


def test_binding_a_group_that_cannot_be_split_is_shown(run_shardcts):
    ended, run = run_shardcts("torch,device=hostdev,bind=yes", "--world", 2, "--filter", "*mesh=HSDP,mlp_dim=3*")
    assert ended.code == 1 and set(run.verdicts) == {"fail"}, ended
    assert "does not support splitting" in run.tests[0]["reason"]


def test_the_gradient_that_no_stream_waits_for_is_found(run_shardcts):
    """A defect of PyTorch that needs work to be late (docs/deviations.md)."""
    ended, run = run_shardcts("torch,device=hostdev", "--world", 2, "--filter", TREC)
    (implementation,) = run.document["implementations"]
    assert run.verdicts == ["pass"] and [patch["target"] for patch in implementation["patches"]] == [WRITE_BACK], ended
    ended, run = run_shardcts("torch,device=hostdev,grad_writeback=as_is", "--world", 2, "--filter", TREC, out="as_is")
    assert run.verdicts == ["fail"] and "nan" in run.tests[0]["reason"], ended


@pytest.mark.parametrize("options, environment, message", [
    ("device=nosuch", {}, "knows no device type 'nosuch'; import=MODULE names what brings it"),
    ("device=npu,import=no_such_module", {}, "module 'no_such_module', which is to bring device type 'npu', cannot be "
                                             "imported: ModuleNotFoundError"),
    ("device=npu,import=json", {}, "knows no device type 'npu', and module 'json' brings none of that name"),
    ("device=hostdev,backend=nosuch", {}, "option backend=nosuch"),
    ("device=hostdev,backend=gloo", {}, "option backend=gloo: not registered for device type 'hostdev'"),
    ("device=hostdev,bind=maybe", {}, "option bind=maybe: possible: yes, no"),
    ("device=hostdev", {"SHARDCTS_HOSTDEV_DEVICES": "1"}, "needs hostdev:1, 1 are there"),
])
def test_bad_input_is_one_line(shardcts, monkeypatch, options, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = shardcts("run", "--impl", f"torch,{options}", "--world", 2, "--filter", "*cached*mlp_dim=2*", "--out", "out")
    assert ended.code == 2 and message in ended.err and len(ended.err.splitlines()) == 1, ended
