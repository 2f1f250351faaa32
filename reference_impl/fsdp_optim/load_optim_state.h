// Converts an optimizer state dict by original parameter names to the layout of one rank's optimizer: the inverse of
// SaveOptimState. Semantics: _flatten_optim_state_dict and _rekey_sharded_optim_state_dict in
// torch/distributed/fsdp/_optim_utils.py, torch 2.13.
#pragma once

#include <string>
#include <vector>

#include "fsdp_optim/model_parameters.h"
#include "fsdp_optim/optimizer_keys.h"

namespace shardcts::reference {

struct LoadOptimOptions {
  bool rank0_only = false;          // the group's first rank has the state dict and sends it to the others
  bool is_named_optimizer = false;  // keys are names; an empty slice keeps a copy of the optimizer's current state
};

// *Collective* over the units' shard groups; with rank0_only over the group as well. `state_dict` may be nullptr on
// ranks where it is not read; it is not changed. For sharded units a rank receives no more than it keeps.
//
// Without use_orig_params each flat parameter gets its shard, padded with zeros; members without state count as zeros,
// values without dimensions must agree. With use_orig_params each parameter gets its 1-D slice and the other values
// unchanged; it has no entry if this rank has none of its elements. State of parameters that no unit manages, and
// entries that belong to no parameter, are passed through unchanged.
//
// On the rank with the error: ValueError: no state; state names, dtypes, shapes or scalars of a flat parameter's
// members that do not match. KeyError: a group names a parameter that the optimizer lacks. RuntimeError: a
// ShardedTensor sharded for other ranks. Peers that would wait get a RuntimeError.
Dict OptimStateToLoad(models::Module& model, const OptimizerInput& input, const Dict* state_dict, Communicator& group,
                      const LoadOptimOptions& options, std::vector<std::string>& user_warnings);

}  // namespace shardcts::reference
