// Optimizer state dicts of a model without units, by parameter ids or by names. *Local*.
// Semantics: FullyShardedDataParallel.rekey_optim_state_dict, torch 2.13.
#pragma once

#include "fsdp_optim/optimizer_keys.h"

namespace shardcts::reference {

enum class OptimStateKeyType { kParameterId, kParameterName };

// The same values under the other kind of key, with `params` sorted; a state dict that already has the wanted keys is
// returned unchanged. `keys`: ids. ValueError: keys of both kinds. KeyError: a name that the optimizer does not have.
// IndexError: an id that it does not have.
Dict RekeyOptimState(const Dict& state_dict, OptimStateKeyType type, models::Module& model, const OptimizerKeys& keys);

}  // namespace shardcts::reference
