// The ports of test_fsdp_state_dict.py.
#pragma once

#include <vector>

#include "rank/port.h"

namespace shardcts::fsdp_state_dict {

PORT(test_basic_save_and_load_state_dict);
PORT(test_buffers_save_and_load_state_dict);
PORT(test_fsdp_state_dict_keys);
PORT(test_fsdp_state_dict_with_activation_checkpoint);
PORT(test_full_state_dict_missing_unexpected_keys_cleaned);
PORT(test_local_state_dict_reshard);
PORT(test_local_state_dict_with_empty_ranks);
PORT(test_save_and_load_after_forward_state_dict);
PORT(test_sharded_load_multi_backend_pg);
PORT(test_shared_module_and_shared_parameter);
PORT(test_state_dict_load_into_local_module);
PORT(test_state_dict_rank0_offload_save_load_flow);
PORT(test_state_dict_save_load_flow);
PORT(test_state_dict_skip_module);
PORT(test_state_dict_type);
PORT(test_state_dict_with_ignored_modules);
PORT(test_state_dict_with_manual_ac_wrapper);
PORT(test_state_dict_with_shared_parameters);
PORT(test_torch_save_load);
PORT(test_world_size_one);
PORT(test_wrong_state_dict_config);

std::vector<Port> Ports();

}  // namespace shardcts::fsdp_state_dict
