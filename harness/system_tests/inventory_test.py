"""The whole suites on the reference: every id of the inventory has its result, and every check was evaluated."""

import os
import subprocess
import sys

import pytest

from conftest import REPOSITORY, end_of, results, start_shardcts

CHECKER = REPOSITORY.parent / "shared/tools/check_inventory.py"


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inventory")
    ended = end_of(start_shardcts("run", "--impl", "reference", "--jobs", 1, "--out", "out", cwd=folder), 600)
    assert ended.code == 0, ended
    return results(folder / "out")


def test_every_listed_test_has_passed(shardcts, whole_run):
    listed = shardcts("list").out.split()
    assert [test["id"] for test in whole_run.tests] == listed
    skipped = {test["id"] for test in whole_run.tests if test["verdict"] == "not_applicable"}
    assert {test["verdict"] for test in whole_run.tests if test["id"] not in skipped} == {"pass"}
    assert len(skipped) == 47 + 16 + 20  # of fsdp_state_dict, fsdp_optim_state and state_dict: upstream returns early
    assert whole_run.complete
    assert sorted(pool["world_size"] for pool in whole_run.document["pools"]) == [1, 2, 4, 8]
    assert {pool["starts"] for pool in whole_run.document["pools"]} == {1}


@pytest.mark.skipif(not CHECKER.exists(), reason="the independent count is not beside this checkout")
def test_an_independent_count_agrees(whole_run):
    counted = subprocess.run([sys.executable, str(CHECKER), str(whole_run.folder / "results.json")],
                             capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert counted.returncode == 0, counted.stdout + counted.stderr
