"""PyTorch over the harness's own transport (backend=local): verdicts are those of gloo, and it is late, fails and is aborted
on command."""

from __future__ import annotations

import pytest

UPSTREAM = [word for suite in ("fsdp_state_dict", "fsdp_optim_state", "state_dict", "fully_shard_state_dict")
            for word in ("--suite", suite)]
FULLY_SHARD = "*test_dp_state_dict_save_load/world_size=2,mesh=1-D,mlp_dim=4*"
CACHED = "*test_cached_state_dict/world_size=2,mlp_dim=3*"
RK7 = "extended/RK7/*"
FAULTY = "python:wait_faults:WaitFaults,backend=local,fault=collective_is_not_waited_for"
GREEN = {"pass", "not_applicable", "waived"}


def test_the_suites_of_upstream_pass(run_shardcts):
    ended, run = run_shardcts("torch,backend=local", *UPSTREAM, "--world", 2, timeout=900)
    assert ended.code == 0 and len(run.tests) > 250 and set(run.verdicts) == GREEN, ended
    assert run.document["implementations"][0]["notes"]["backend"] == "local"


@pytest.mark.parametrize("world, tests", [(1, "*"), (4, "*mesh=HSDP*mlp_dim=3*")])
def test_other_worlds_and_groups_of_some_ranks_pass(run_shardcts, world, tests):
    ended, run = run_shardcts("torch,backend=local", *UPSTREAM, "--world", world, "--filter", tests, timeout=300)
    assert ended.code == 0 and "pass" in run.verdicts, ended


def test_late_collectives_change_no_verdict(run_shardcts, monkeypatch):
    monkeypatch.setenv("SHARDCTS_LOCAL_LATE", "3")
    ended, run = run_shardcts("torch,backend=local", "--world", 2, "--filter", FULLY_SHARD, timeout=300)
    assert ended.code == 0 and set(run.verdicts) == {"pass"}, ended


@pytest.mark.parametrize("variable, says", [
    ("SHARDCTS_LOCAL_FAIL", "local: this collective fails on command"),
    ("SHARDCTS_LOCAL_ABORT", "aborted: aborted on command"),
])
def test_failure_and_abort_are_shown(run_shardcts, monkeypatch, variable, says):
    """In each test, as its processes are new after the one before: the other rank still waits, and is ended."""
    monkeypatch.setenv(variable, "0:3")
    ended, run = run_shardcts("torch,backend=local", "--world", 2, "--filter", CACHED, timeout=300)
    assert ended.code == 1 and run.verdicts == ["fail", "fail"], ended
    assert all(says in test["reason"] for test in run.tests), run.tests


@pytest.mark.parametrize("options, verdict", [("torch,backend=local", "pass"), ("torch", "not_supported"), (FAULTY, "fail")])
def test_a_late_transport_changes_no_value(run_shardcts, options, verdict):
    """The fault: a result is used before its collective is done. In time nobody sees it."""
    ended, run = run_shardcts(options, "--world", 3, "--filter", RK7, timeout=300)
    assert set(run.verdicts) == {verdict}, ended
    if options == FAULTY:
        assert "nan" in run.tests[0]["reason"], run.tests[0]
        ended, run = run_shardcts(FAULTY, "--world", 3, "--filter", "extended/TR2/world_size=3,wrapper=fully_shard*",
                                  out="in_time")
        assert set(run.verdicts) == {"pass"}, ended


def test_ranks_of_hostdev_share_devices(run_shardcts, monkeypatch):
    monkeypatch.setenv("SHARDCTS_HOSTDEV_DEVICES", "1")
    ended, run = run_shardcts("torch,device=hostdev,backend=hostlocal,share=yes", "--world", 2, "--filter", CACHED,
                              timeout=300)
    assert ended.code == 0 and set(run.verdicts) == {"pass"}, ended
    assert run.document["implementations"][0]["notes"]["backend"] == "hostlocal"


@pytest.mark.parametrize("options, message", [
    ("backend=hostlocal", "option backend=hostlocal"),
    ("backend=local,bind=yes", "option bind=yes: a group cannot be bound to the CPU"),
    ("share=maybe", "option share=maybe: possible: yes, no"),
])
def test_bad_input_is_one_line(shardcts, options, message):
    ended = shardcts("run", "--impl", f"torch,{options}", "--world", 2, "--filter", CACHED, "--out", "out")
    assert ended.code == 2 and message in ended.err and len(ended.err.splitlines()) == 1, ended
