// The ports of test_state_dict.py.
#pragma once

#include <vector>

#include "rank/port.h"

namespace shardcts::state_dict {

PORT(test_activation_ckpt_fqns_ddp);
PORT(test_activation_ckpt_fqns_fsdp1);
PORT(test_broadcast_from_rank0);
PORT(test_compiled_fsdp);
PORT(test_cpu_offload_full_state_dict);
PORT(test_ddp);
PORT(test_deprecate_api);
PORT(test_extra_state);
PORT(test_flattened_osd);
PORT(test_fsdp);
PORT(test_fsdp2);
PORT(test_fsdp_ddp);
PORT(test_fsdp_root_not_initialized);
PORT(test_multi_device_load_model_state_dict);
PORT(test_multi_param_groups);
PORT(test_no_dist);
PORT(test_non_persistent_buffers);
PORT(test_optim_state_dict_param_matching);
PORT(test_set_cpu_model_state_dict_broadcast_from_rank0);
PORT(test_setting_meta_device_model);
PORT(test_setting_meta_device_model_broadcasting_and_memory);
PORT(test_shared_weight);
PORT(test_single_gpu);
PORT(test_state_dict_with_hook_on_keys);
PORT(test_strict);

std::vector<Port> Ports();

}  // namespace shardcts::state_dict
