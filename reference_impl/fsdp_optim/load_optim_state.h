// An optimizer state dict by original parameter names, in the layout of one rank's optimizer: SaveOptimState's other
// direction. Semantics: _flatten_optim_state_dict and _rekey_sharded_optim_state_dict in
// torch/distributed/fsdp/_optim_utils.py, torch 2.13.
#pragma once

#include <string>
#include <vector>

#include "fsdp_optim/model_parameters.h"
#include "fsdp_optim/optimizer_keys.h"

namespace shardcts::reference {

struct LoadOptimOptions {
  bool rank0_only = false;          // the dict of the group's first rank counts, which sends it to the others
  bool is_named_optimizer = false;  // keys are names; an empty slice keeps a copy of the optimizer's present state
};

// *Collective* over the units' shard groups, with rank0_only over the group as well. `state_dict` may be nullptr where
// it does not count; it is not changed. Of units that are sharded a rank gets no more than what it keeps.
//
// Without use_orig_params each flat parameter gets its shard, padded with zeros; members without state count as zeros,
// values without dimensions must agree. With use_orig_params each parameter gets its 1-D slice and the other values as
// they are, and no entry where this rank has none of it. What no unit manages is passed on as it is, and so are entries
// that no parameter has.
//
// On the rank that has it: ValueError: no state; state names, dtypes, shapes or scalars of a flat parameter's members
// that do not fit together. KeyError: a group names a parameter that the optimizer lacks. RuntimeError: a ShardedTensor
// cut for other ranks. Peers that would wait get a RuntimeError then.
Dict OptimStateToLoad(models::Module& model, const OptimizerInput& input, const Dict* state_dict, Communicator& group,
                      const LoadOptimOptions& options, std::vector<std::string>& user_warnings);

}  // namespace shardcts::reference
