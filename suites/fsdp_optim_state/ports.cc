#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/ports.h"

namespace shardcts::fsdp_optim_state {

std::vector<Port> Ports() {
  return {
      {"test_compatible_with_trec", &test_compatible_with_trec},
      {"test_flatten_sharded_optim_state_dict_nested", &test_flatten_sharded_optim_state_dict_nested},
      {"test_flatten_sharded_optim_state_dict_transformer", &test_flatten_sharded_optim_state_dict_transformer},
      {"test_full_optim_state_dict_keys", &test_full_optim_state_dict_keys},
      {"test_full_optim_state_dict_nested_invalid", &test_full_optim_state_dict_nested_invalid},
      {"test_interface_arguments", &test_interface_arguments},
      {"test_no_grad", &test_no_grad},
      {"test_optim_input_warning", &test_optim_input_warning},
      {"test_optim_state_dict_nested", &test_optim_state_dict_nested},
      {"test_optim_state_without_param_groups", &test_optim_state_without_param_groups},
      {"test_rekey_optim_state_dict_to_ids", &test_rekey_optim_state_dict_to_ids},
      {"test_rekey_optim_state_dict_to_names", &test_rekey_optim_state_dict_to_names},
      {"test_save_load_without_0th_param_state", &test_save_load_without_0th_param_state},
      {"test_scatter_full_optim_state_dict_nested", &test_scatter_full_optim_state_dict_nested},
      {"test_scatter_full_optim_state_dict_nested_halve_world_size",
       &test_scatter_full_optim_state_dict_nested_halve_world_size},
      {"test_scatter_full_optim_state_dict_transformer", &test_scatter_full_optim_state_dict_transformer},
      {"test_shard_full_optim_state_dict_nested", &test_shard_full_optim_state_dict_nested},
      {"test_shard_full_optim_state_dict_nested_halve_world_size",
       &test_shard_full_optim_state_dict_nested_halve_world_size},
      {"test_shard_full_optim_state_dict_transformer", &test_shard_full_optim_state_dict_transformer},
      {"test_shard_full_optim_state_dict_unmanaged_params", &test_shard_full_optim_state_dict_unmanaged_params},
      {"test_state_dict_with_none_tensor_state", &test_state_dict_with_none_tensor_state},
      {"test_use_orig_params", &test_use_orig_params},
      {"test_with_empty_optimizer_state", &test_with_empty_optimizer_state},
      {"test_with_no_shard", &test_with_no_shard},
  };
}

}  // namespace shardcts::fsdp_optim_state
