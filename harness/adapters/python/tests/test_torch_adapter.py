"""The torch adapter on real process groups: ranks are processes that run torch_rank.py."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

ANY_WORLD = [
    "describes_itself",
    "parameters_share_storage_with_the_state_dict",
    "uneven_shards_are_those_of_ceil_chunking",
    "load_copies_into_place_without_synchronizing",
    "full_tensor_is_the_unsharded_value",
    "forward_leaves_parameters_unsharded_until_the_state_dict",
    "training_steps_show_in_a_cached_state_dict",
    "reallocate_moves_storage_and_keeps_values",
    "forward_on_meta_is_an_error",
    "meta_model_is_materialized_by_assignment",
    "tied_parameters_keep_both_names",
    "redistribution_and_partial_values",
    "errors_are_those_of_pytorch",
    "hsdp_replicates_over_dim_0",
    "tensor_parallel_below_fully_shard_is_strided",
    "unseen_world_mesh_comes_from_a_recording",
    "optimizers_have_groups_and_state_dicts",
    "named_optimizers_show_clean_names",
    "saved_optimizer_state_is_that_of_an_unsharded_twin",
    "reset_frees_models",
    "readers_of_groups_give_way",
]
FOUR_RANKS = ["hsdp_with_tensor_parallel"]


def run_cases(world_size: int, cases: list[str], folder: Path) -> list[subprocess.CompletedProcess]:
    command = [sys.executable, str(TESTS / "torch_rank.py")]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(world_size), str(folder / "store"), *cases],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(world_size)
    ]
    try:
        outputs = [process.communicate(timeout=180)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    return [subprocess.CompletedProcess(r.args, r.returncode, o) for r, o in zip(ranks, outputs)]


@pytest.mark.parametrize("world_size, cases", [(2, ANY_WORLD), (4, ANY_WORLD + FOUR_RANKS)])
def test_all_cases(world_size, cases, tmp_path):
    for rank, process in enumerate(run_cases(world_size, cases, tmp_path)):
        assert process.returncode == 0, f"rank {rank}:\n{process.stdout}"
        done = [line.removeprefix("ok ") for line in process.stdout.splitlines() if line.startswith("ok ")]
        assert done == cases
