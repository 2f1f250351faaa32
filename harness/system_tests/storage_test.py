"""Checkpoints that one implementation saves and another loads."""

import pytest


@pytest.mark.parametrize(("saves", "loads"), [("reference", "torch"), ("torch", "reference")])
def test_safetensors_are_read_by_the_other_implementation(run_shardcts, saves, loads):
    ended, run = run_shardcts(saves, "--filter", "storage/FM2/", "--load-with", loads)
    assert ended.code == 0, ended
    assert run.verdicts == ["pass"] * 3
    assert run.document["run"]["load_with"] == loads


@pytest.mark.parametrize(("saves", "loads"), [("reference", "torch"), ("torch", "reference")])
def test_checkpoints_of_pytorch_are_exchanged(run_shardcts, saves, loads):
    ended, run = run_shardcts(saves, "--filter", "storage/FM1/", "--load-with", loads)
    assert ended.code == 0, ended
    assert run.verdicts == ["pass"] * 3


def test_ranks_that_die_on_demand_leave_no_problem(run_shardcts):
    ended, run = run_shardcts("reference", "--filter", "storage/CR7/save=2,crash=2,load=2,threads=1,points=8")
    assert ended.code == 0, ended
    assert run.verdicts == ["pass"]
    pools = run.document["pools"]
    assert sum(pool["starts"] for pool in pools) >= 9  # one for each point, and those of the other phases
    assert [pool["problems"] for pool in pools] == [[]] * len(pools)
