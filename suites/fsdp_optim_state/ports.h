// The ports of test_fsdp_optim_state.py.
#pragma once

#include <vector>

#include "rank/port.h"

namespace shardcts::fsdp_optim_state {

PORT(test_compatible_with_trec);
PORT(test_flatten_sharded_optim_state_dict_nested);
PORT(test_flatten_sharded_optim_state_dict_transformer);
PORT(test_full_optim_state_dict_keys);
PORT(test_full_optim_state_dict_nested_invalid);
PORT(test_interface_arguments);
PORT(test_no_grad);
PORT(test_optim_input_warning);
PORT(test_optim_state_dict_nested);
PORT(test_optim_state_without_param_groups);
PORT(test_rekey_optim_state_dict_to_ids);
PORT(test_rekey_optim_state_dict_to_names);
PORT(test_save_load_without_0th_param_state);
PORT(test_scatter_full_optim_state_dict_nested);
PORT(test_scatter_full_optim_state_dict_nested_halve_world_size);
PORT(test_scatter_full_optim_state_dict_transformer);
PORT(test_shard_full_optim_state_dict_nested);
PORT(test_shard_full_optim_state_dict_nested_halve_world_size);
PORT(test_shard_full_optim_state_dict_transformer);
PORT(test_shard_full_optim_state_dict_unmanaged_params);
PORT(test_state_dict_with_none_tensor_state);
PORT(test_use_orig_params);
PORT(test_with_empty_optimizer_state);
PORT(test_with_no_shard);

std::vector<Port> Ports();

}  // namespace shardcts::fsdp_optim_state
