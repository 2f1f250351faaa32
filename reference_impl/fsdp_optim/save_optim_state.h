// The state of an optimizer over a model with units, by original parameter names.
// Semantics: _optim_state_dict in torch/distributed/fsdp/_optim_utils.py, torch 2.13.
#pragma once

#include <string>
#include <vector>

#include "fsdp_optim/model_parameters.h"
#include "fsdp_optim/optimizer_keys.h"

namespace shardcts::reference {

struct SaveOptimOptions {
  bool rank0_only = false;     // only the group's first rank gets the result, the others an empty dict
  bool shard_state = false;    // tensors of managed parameters in chunks along dimension 0; not with rank0_only
  bool offload_to_cpu = true;  // tensors are copies on the CPU
};

// *Collective* over the group and the units' shard groups. Returns {state: {FQN: {state name: value}}, param_groups} of
// `state_dict`, which is the optimizer's; param_groups only if `state_dict` has them. Tensors with dimensions are full
// tensors, views of one new tensor for each unit and state name; with shard_state they are ShardedTensors, or DTensors
// on the unit's mesh. One state of one unit is gathered at a time; with rank0_only the other ranks send their parts and
// keep nothing. For a unit that is not sharded nothing is gathered.
//
// RuntimeError, on all ranks: a rank lacks state that the first rank has (use_orig_params: no rank has state of a
// trainable parameter); the ranks' states do not match; a peer has failed. AssertionError, on all ranks of a unit:
// scalars that differ, with use_orig_params. KeyError: param_groups name a parameter that the optimizer lacks.
Dict SaveOptimState(models::Module& model, const OptimizerInput& input, const Dict& state_dict, Communicator& group,
                    const SaveOptimOptions& options, std::vector<std::string>& user_warnings);

// Whether a state dict is keyed by names, which its first key tells.
bool IsKeyedByNames(const Dict& state_dict);

}  // namespace shardcts::reference
