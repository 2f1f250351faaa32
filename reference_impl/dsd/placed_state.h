// Optimizer state between its two forms: the tensors that an optimizer keeps, which are this rank's parts, and the
// values of a state dict, which are placed like the parameter.
#pragma once

#include "contract/value.h"
#include "dsd/options.h"
#include "models/module.h"

namespace shardcts::reference {

// *Local*. {state name: tensor of the optimizer} → {state name: value}; storage is shared.
Dict PlacedState(const models::Parameter& parameter, const Dict& state);

// This rank's part of a value for a parameter. *Local* for a plain tensor and a DTensor that is placed like the
// parameter, else *Collective* over the DTensor's mesh. `is_whole`: a plain tensor of the parameter's global shape is a
// whole one, of which this rank takes its part; storage may be shared. RuntimeError: without it, a plain tensor of a
// parameter that is a DTensor; a mesh that is not known here.
Value LocalState(const models::Parameter& parameter, const Value& value, bool is_whole, const MeshRegistry& meshes);

}  // namespace shardcts::reference
