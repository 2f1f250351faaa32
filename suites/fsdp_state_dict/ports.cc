#include <ATen/ATen.h>

#include "suites/fsdp_state_dict/ports.h"

namespace shardcts::fsdp_state_dict {

std::vector<Port> Ports() {
  return {
      {"test_basic_save_and_load_state_dict", &test_basic_save_and_load_state_dict},
      {"test_buffers_save_and_load_state_dict", &test_buffers_save_and_load_state_dict},
      {"test_fsdp_state_dict_keys", &test_fsdp_state_dict_keys},
      {"test_fsdp_state_dict_with_activation_checkpoint", &test_fsdp_state_dict_with_activation_checkpoint},
      {"test_full_state_dict_missing_unexpected_keys_cleaned", &test_full_state_dict_missing_unexpected_keys_cleaned},
      {"test_local_state_dict_reshard", &test_local_state_dict_reshard},
      {"test_local_state_dict_with_empty_ranks", &test_local_state_dict_with_empty_ranks},
      {"test_save_and_load_after_forward_state_dict", &test_save_and_load_after_forward_state_dict},
      {"test_sharded_load_multi_backend_pg", &test_sharded_load_multi_backend_pg},
      {"test_shared_module_and_shared_parameter", &test_shared_module_and_shared_parameter},
      {"test_state_dict_load_into_local_module", &test_state_dict_load_into_local_module},
      {"test_state_dict_rank0_offload_save_load_flow", &test_state_dict_rank0_offload_save_load_flow},
      {"test_state_dict_save_load_flow", &test_state_dict_save_load_flow},
      {"test_state_dict_skip_module", &test_state_dict_skip_module},
      {"test_state_dict_type", &test_state_dict_type},
      {"test_state_dict_with_ignored_modules", &test_state_dict_with_ignored_modules},
      {"test_state_dict_with_manual_ac_wrapper", &test_state_dict_with_manual_ac_wrapper},
      {"test_state_dict_with_shared_parameters", &test_state_dict_with_shared_parameters},
      {"test_torch_save_load", &test_torch_save_load},
      {"test_world_size_one", &test_world_size_one},
      {"test_wrong_state_dict_config", &test_wrong_state_dict_config},
  };
}

}  // namespace shardcts::fsdp_state_dict
