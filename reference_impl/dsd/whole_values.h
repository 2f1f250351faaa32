// What is done to the values of a saved state dict in the end: gathered, moved to the CPU, or dropped.
// Semantics: _gather_state_dict and _offload_state_dict_to_cpu in torch/distributed/_state_dict_utils.py, torch 2.13.
#pragma once

#include "dsd/options.h"

namespace shardcts::reference {

// *Collective* over the meshes and groups of the values with full_state_dict, else *Local*. The values of `state_dict`,
// at any depth, in the form that the options ask for; {} where this rank keeps nothing. They are gathered one by one: a
// rank that keeps nothing has never more than one whole tensor.
Dict InFormOf(const StateDictOptions& options, Dict state_dict, const StateDictContext& context);

}  // namespace shardcts::reference
