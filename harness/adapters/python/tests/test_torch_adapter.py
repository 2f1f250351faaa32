"""The torch adapter on real process groups: ranks are processes that run torch_rank.py."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

ANY_WORLD = [
    "describes_itself",
    "ignored_states_have_names_without_wrappers",
    "readers_of_groups_give_way",
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
    "trees_are_built_and_count_their_hooks",
    "optimizers_of_every_kind_step_shards",
    "options_and_entries_of_groups",
    "schedules_move_on_and_resume",
    "local_values_are_set_by_the_names_of_parameters",
    "meshes_of_some_ranks_are_smaller_worlds",
    "chunks_are_those_of_every_rank",
    "views_share_storage",
    "an_inner_module_has_a_state_dict",
    "the_random_state_changes_with_draws",
    "gloo_is_not_delayed",
    "checkpoints_go_to_a_folder_and_back",
    "errors_of_checkpoints_are_those_of_every_rank",
    "reads_and_chunks_are_planned",
    "some_ranks_save_and_others_load",
    "saves_go_on_in_the_background",
    "another_process_writes",
    "staged_copies_share_what_was_shared",
    "safetensors_in_a_sub_folder_are_read",
    "shards_are_put_together",
    "quantized_weights_are_multiplied",
    "parts_are_copied_in_runs",
    "optimizer_state_is_loaded_by_itself",
    "who_writes_what_is_planned",
    "plans_of_a_series_are_reused",
    "state_dicts_are_flattened_and_nested_again",
    "checkpoints_become_files_and_back",
    "saves_and_loads_fail_where_they_are_told_to",
    "one_rank_saves_without_a_group",
    "files_go_through_streams",
    "hooks_on_steps_are_counted",
    "a_forward_hook_takes_a_state_dict",
    "an_edited_state_dict_reaches_no_group",
    "reset_frees_models",
]
FOUR_RANKS = ["hsdp_with_tensor_parallel"]


TIME_LIMIT_SECONDS = 180


@dataclass(frozen=True)
class Ended:
    rank: int
    returncode: int
    output: str


def run_cases(world_size: int, cases: list[str], folder: Path) -> list[Ended]:
    """Runs the ranks until all have ended. When one fails or time is up, the others are killed: they would wait for it."""
    logs = [folder / f"rank-{rank}.log" for rank in range(world_size)]
    ranks = [start_rank(rank, world_size, cases, folder / "store", log) for rank, log in enumerate(logs)]
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    try:
        while None in (codes := [rank.poll() for rank in ranks]) and not any(codes) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for rank in ranks:
            rank.kill()
    return [Ended(rank, process.wait(), log.read_text()) for rank, (process, log) in enumerate(zip(ranks, logs))]


def start_rank(rank: int, world_size: int, cases: list[str], store: Path, log: Path) -> subprocess.Popen:
    command = [sys.executable, str(TESTS / "torch_rank.py"), str(rank), str(world_size), str(store), *cases]
    with log.open("w") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("world_size, cases", [(2, ANY_WORLD), (4, ANY_WORLD + FOUR_RANKS)])
def test_all_cases(world_size, cases, tmp_path):
    ended = run_cases(world_size, cases, tmp_path)
    for rank in sorted(ended, key=lambda rank: rank.returncode, reverse=True):  # killed ones last, they tell least
        assert rank.returncode == 0, f"rank {rank.rank} ended with {rank.returncode}:\n{rank.output}"
        done = [line.removeprefix("ok ") for line in rank.output.splitlines() if line.startswith("ok ")]
        assert done == cases
