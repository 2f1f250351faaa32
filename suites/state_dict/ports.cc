#include "suites/state_dict/ports.h"

#include <ATen/ATen.h>

namespace shardcts::state_dict {

std::vector<Port> Ports() {
  return {
      {"test_activation_ckpt_fqns_ddp", &test_activation_ckpt_fqns_ddp},
      {"test_activation_ckpt_fqns_fsdp1", &test_activation_ckpt_fqns_fsdp1},
      {"test_broadcast_from_rank0", &test_broadcast_from_rank0},
      {"test_compiled_fsdp", &test_compiled_fsdp},
      {"test_cpu_offload_full_state_dict", &test_cpu_offload_full_state_dict},
      {"test_ddp", &test_ddp},
      {"test_deprecate_api", &test_deprecate_api},
      {"test_extra_state", &test_extra_state},
      {"test_flattened_osd", &test_flattened_osd},
      {"test_fsdp", &test_fsdp},
      {"test_fsdp2", &test_fsdp2},
      {"test_fsdp_ddp", &test_fsdp_ddp},
      {"test_fsdp_root_not_initialized", &test_fsdp_root_not_initialized},
      {"test_multi_device_load_model_state_dict", &test_multi_device_load_model_state_dict},
      {"test_multi_param_groups", &test_multi_param_groups},
      {"test_no_dist", &test_no_dist},
      {"test_non_persistent_buffers", &test_non_persistent_buffers},
      {"test_optim_state_dict_param_matching", &test_optim_state_dict_param_matching},
      {"test_set_cpu_model_state_dict_broadcast_from_rank0", &test_set_cpu_model_state_dict_broadcast_from_rank0},
      {"test_setting_meta_device_model", &test_setting_meta_device_model},
      {"test_setting_meta_device_model_broadcasting_and_memory",
       &test_setting_meta_device_model_broadcasting_and_memory},
      {"test_shared_weight", &test_shared_weight},
      {"test_single_gpu", &test_single_gpu},
      {"test_state_dict_with_hook_on_keys", &test_state_dict_with_hook_on_keys},
      {"test_strict", &test_strict},
  };
}

}  // namespace shardcts::state_dict
