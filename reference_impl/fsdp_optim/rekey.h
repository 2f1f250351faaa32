// Optimizer state dicts of a model without units, by parameter ids or by names. *Local*.
// Semantics: FullyShardedDataParallel.rekey_optim_state_dict, torch 2.13.
#pragma once

#include "fsdp_optim/optimizer_keys.h"

namespace shardcts::reference {

enum class OptimStateKeyType { kParameterId, kParameterName };

// The same values under the other keys, `params` sorted; a dict that has the wanted keys as it is. `keys`: ids.
// ValueError: keys of both types. KeyError: a name that the optimizer does not have. IndexError: an id that it lacks.
Dict RekeyOptimState(const Dict& state_dict, OptimStateKeyType type, models::Module& model, const OptimizerKeys& keys);

}  // namespace shardcts::reference
