// The ports of test_fully_shard_state_dict.py.
#pragma once

#include <vector>

#include "rank/port.h"

namespace shardcts::fully_shard_state_dict {

PORT(test_dp_state_dict_save_load);
PORT(test_cached_state_dict);
PORT(test_dp_state_dict_cpu_offload);
PORT(test_2d_state_dict_correctness);
PORT(test_dp_tp_state_dict_save_load);
PORT(test_hsdp_tp_state_dict_save_load);
PORT(test_rank0_offload_full_state_dict);

std::vector<Port> Ports();

}  // namespace shardcts::fully_shard_state_dict
