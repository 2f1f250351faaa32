// The ports of the tests of checkpoints: test/distributed/checkpoint/.
#pragma once

#include <vector>

#include "rank/port.h"

namespace shardcts::dcp {

PORT(test_1d_fsdp_cpu_offload_full_model_state_dict);
PORT(test_1d_fsdp_get_model_state_dict);
PORT(test_1d_to_1d_reshard_placement_change);
PORT(test_1d_to_2d_reshard_mesh_change);
PORT(test_2d_to_1d_reshard_mesh_change);
PORT(test_2d_to_2d_reshard_placement_change);
PORT(test_calculate_max_contiguous_elements_valid_cases);
PORT(test_calculate_max_contiguous_elements_validations);
PORT(test_compare_save_plans);
PORT(test_consolidate_one_file_with_two_ranks);
PORT(test_consolidate_to_one_file);
PORT(test_consolidate_to_one_file_e2e);
PORT(test_consolidate_to_two_files);
PORT(test_consolidate_with_two_ranks);
PORT(test_create_read_item_from_chunks);
PORT(test_dcp_to_torch_save);
PORT(test_dedup_plans);
PORT(test_default_metadata);
PORT(test_detect_overlapping_chunks);
PORT(test_different_ordered_state_dict_keys);
PORT(test_dtensor_checkpoint_resharding_with_empty_shard);
PORT(test_dtensor_checkpoint_with_uneven_shards);
PORT(test_dummy_reader_works);
PORT(test_dummy_writer_works);
PORT(test_e2e);
PORT(test_e2e_async_cached);
PORT(test_finish_plan_with_caching);
PORT(test_global_plan);
PORT(test_global_plan_with_caching);
PORT(test_hsdp_checkpoint);
PORT(test_hsdp_fsdp_checkpoint_conversion);
PORT(test_init_state_dict);
PORT(test_load);
PORT(test_load_different_sizes_throws);
PORT(test_load_error_handling);
PORT(test_load_error_handling_no_dist);
PORT(test_load_into_empty_dict);
PORT(test_load_rowwise_to_colwise);
PORT(test_load_sharded_optimizer_state_dict);
PORT(test_load_with_different_shard_plan);
PORT(test_load_with_multiple_threads);
PORT(test_load_with_resharding);
PORT(test_load_with_world_size_diff_by_one);
PORT(test_local_load_plan);
PORT(test_local_plan);
PORT(test_local_plan_with_caching);
PORT(test_merge_delta_local_plans);
PORT(test_no_cpu);
PORT(test_no_dist);
PORT(test_non_overlapping_chunks);
PORT(test_online_torch_save_to_dcp);
PORT(test_overwrite);
PORT(test_partial_load);
PORT(test_quantized_checkpoint_loading);
PORT(test_read_write_only_tensor);
PORT(test_read_write_only_tensor_zstandard);
PORT(test_read_write_shard_tensor);
PORT(test_read_write_tensor_and_blob);
PORT(test_save);
PORT(test_save_error_handling);
PORT(test_save_error_handling_no_dist);
PORT(test_save_load_bytes);
PORT(test_save_with_fsdp1_and_load_with_fsdp2);
PORT(test_save_with_fsdp1_and_load_with_fsdp2_tp);
PORT(test_save_with_fsdp2_tp_and_load_with_tp);
PORT(test_save_with_tp_and_load_with_fsdp2_tp);
PORT(test_stateful_and_non_stateful_loads);
PORT(test_strict);
PORT(test_switch_between_sharded_tensor_to_tensor);
PORT(test_tensor_metadata_with_missing_rank_spec);
PORT(test_torch_save_to_dcp);
PORT(test_tp_checkpoint);
PORT(test_tp_checkpoint_load_on_meta_device);
PORT(test_uneven_reshard_with_checkpointable_api);
PORT(test_uneven_reshard_with_dtensor_shards_wrapper_api);
PORT(test_version_key_in_planner_data);
PORT(test_write_sub_tensor_to_file_optimized);

std::vector<Port> Ports();

}  // namespace shardcts::dcp
