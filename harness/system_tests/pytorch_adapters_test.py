"""The examples of docs/pytorch_adapters.md: adapters on the base class of PyTorch's libraries, of few lines."""

import subprocess
from collections import Counter

import pytest

from conftest import EXAMPLES, REPOSITORY

PEERS = REPOSITORY / "harness/adapters/peers"
OWN, WRAPS = "python:own_sharding:OwnSharding", "python:only_wraps:OnlyWraps"
RULES = ("--suite", "extended", "--world", "3", "--filter", "extended/*wrapper=fully_shard,*")
UPSTREAM = ("--suite", "fully_shard_state_dict", "--world", "2")


@pytest.mark.parametrize("file, lines", [
    (EXAMPLES / "own_sharding.py", 150), (EXAMPLES / "only_wraps.py", 60), (PEERS / "accelerate_fsdp2.py", 60),
    (PEERS / "fairscale_fsdp.py", 150), (PEERS / "torchsnapshot_storage.py", 150)],
    ids=lambda value: getattr(value, "name", None))
def test_they_are_short(file, lines):
    assert len(file.read_text().splitlines()) <= lines


def test_a_peer_that_is_not_there_is_one_line():
    ended = subprocess.run([REPOSITORY / "ci/peers.sh", "nothing"], text=True, capture_output=True, timeout=60)
    told = "peers: 'nothing' is none of: accelerate fairscale megatron torchsnapshot\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", told)


@pytest.mark.parametrize("implementation, verdicts", [
    (OWN, {"pass": 9, "not_supported": 14}), (WRAPS, {"pass": 23})])
def test_they_pass_as_the_page_says(run_shardcts, implementation, verdicts):
    ended, run = run_shardcts(implementation, *UPSTREAM)
    assert ended.code == 0 and Counter(run.verdicts) == verdicts, ended


def test_code_that_shards_by_itself_obeys_rules(run_shardcts):
    ended, run = run_shardcts(OWN, *RULES)
    assert ended.code == 0 and run.verdicts.count("pass") > 20, ended


def test_the_report_names_the_library(run_shardcts):
    _, run = run_shardcts(OWN, "--filter", "*test_cached_state_dict/world_size=2,mlp_dim=2*")
    (implementation,) = run.document["implementations"]
    assert (implementation["name"], implementation["version"]) == ("row_library", "0.3")
    assert implementation["notes"]["torch"]


@pytest.mark.parametrize("fault", ["rows_of_another_rank", "gradients_are_summed", "a_load_changes_nothing"])
def test_a_library_that_is_wrong_fails(run_shardcts, fault):
    ended, _ = run_shardcts(f"python:wrong_rows:WrongRows,fault={fault}", *RULES)
    assert ended.code == 1, ended
