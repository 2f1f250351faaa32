#include "suites/fully_shard_state_dict/ports.h"

namespace shardcts::fully_shard_state_dict {

std::vector<Port> Ports() {
  return {{"test_dp_state_dict_save_load", &test_dp_state_dict_save_load},
          {"test_cached_state_dict", &test_cached_state_dict},
          {"test_dp_state_dict_cpu_offload", &test_dp_state_dict_cpu_offload},
          {"test_2d_state_dict_correctness", &test_2d_state_dict_correctness},
          {"test_dp_tp_state_dict_save_load", &test_dp_tp_state_dict_save_load},
          {"test_hsdp_tp_state_dict_save_load", &test_hsdp_tp_state_dict_save_load},
          {"test_rank0_offload_full_state_dict", &test_rank0_offload_full_state_dict}};
}

}  // namespace shardcts::fully_shard_state_dict
