// The last step of saving: the values of a state dict are gathered, moved to the CPU, or dropped. Semantics:
// _gather_state_dict and _offload_state_dict_to_cpu in torch/distributed/_state_dict_utils.py, torch 2.13.
#pragma once

#include "dsd/options.h"

namespace shardcts::reference {

// *Collective* over the meshes and groups of the values with full_state_dict, otherwise *Local*. The values of
// `state_dict`, at any depth, in the form that the options request; {} if this rank keeps nothing. They are gathered
// one by one: a rank that keeps nothing never holds more than one full tensor.
Dict InFormOf(const StateDictOptions& options, Dict state_dict, const StateDictContext& context);

// *Local*. What InFormOf gathers of this state dict, with full_state_dict: one text for each, in the order of gathering.
// Ranks may call InFormOf only if all of them have the same.
std::vector<std::string> DistributedIn(const Dict& state_dict);

}  // namespace shardcts::reference
