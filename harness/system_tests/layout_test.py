"""Libraries whose cut is not PyTorch's are judged by values, names and round trips (docs/contract.md, Layout)."""

import pytest

from conftest import CACHED

OTHER = "python:other_cut:OtherCut"
UPSTREAM = ("--suite", "fully_shard_state_dict", "--world", "2")
RULES = ("--suite", "extended", "--filter", "extended/*wrapper=fully_shard*")


@pytest.mark.parametrize("tests, fewest", [
    (UPSTREAM, 9), ((*RULES, "--world", "2"), 20), ((*RULES, "--world", "3"), 20)], ids=["upstream", "rules at 2", "rules at 3"])
def test_another_cut_gives_no_false_alarm(run_shardcts, tests, fewest):
    ended, run = run_shardcts(OTHER, *tests, timeout=600)
    assert ended.code == 0, ended
    assert run.verdicts.count("pass") >= fewest and set(run.verdicts) <= {"pass", "not_supported", "advice"}, ended


def test_another_cut_that_declares_pytorchs_fails(run_shardcts):
    ended, run = run_shardcts(f"{OTHER},declares=layout", "--filter", "extended/GE1/world_size=3,wrapper=fully_shard,entries=parameters")
    assert (run.verdicts, ended.code) == (["fail"], 1), ended


@pytest.mark.parametrize("tests", [
    ("--filter", "*test_rank0_offload_full_state_dict/world_size=2"),
    ("--filter", "extended/TR12/world_size=3,wrapper=fully_shard,optimizer=adam,stepped=true")], ids=["upstream", "rule"])
def test_a_wrong_value_in_another_cut_is_found(run_shardcts, tests):
    assert run_shardcts(OTHER, *tests)[1].verdicts == ["pass"]
    ended, run = run_shardcts(f"{OTHER},wrong=values", *tests, out="wrong")
    assert (run.verdicts, ended.code) == (["fail"], 1), ended


def test_a_test_without_layout_needs_none(run_shardcts):
    _, run = run_shardcts(OTHER, "--filter", CACHED.format(2))
    assert run.verdicts == ["pass"] * 4


def test_a_shard_without_memory_need_not_move(run_shardcts):
    """Of 2 and 3 rows on 4 ranks there are some."""
    _, run = run_shardcts(OTHER, "--filter", "*test_cached_state_dict/world_size=4,mlp_dim=?,mutate_after_state_dict=true")
    assert run.verdicts == ["pass"] * 4
