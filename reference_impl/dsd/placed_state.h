// Converts optimizer state between its two forms: the tensors that an optimizer keeps, which are this rank's parts, and
// the values of a state dict, which have the placements of the parameter.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "contract/value.h"
#include "dsd/options.h"
#include "models/module.h"

namespace shardcts::reference {

// In the following, `example` is Optimizer::LargestExampleState of the parameter, or the part of it that stands where the
// value does; nullptr: the rule keeps nothing there. It says which tensors are cut like the parameter: state of a shape
// of its own is not, even if it happens to have the parameter's. What the rule does not know is kept as it is given.

// *Local*. Whether the tensor has the parameter's shape, here `shape`, and is cut like it.
bool IsShapedLike(const at::Tensor& tensor, const Value* example, at::IntArrayRef shape);

// *Local*. {state name: tensor of the optimizer} → {state name: value}; storage is shared.
Dict PlacedState(const models::Parameter& parameter, const Dict& state, const Dict& example);

// This rank's part of a value for a parameter. *Local* for a plain tensor and for a DTensor with the parameter's
// placements, otherwise *Collective* over the DTensor's mesh. `is_whole`: a plain tensor of the parameter's global
// shape is a full tensor, of which this rank takes its part; storage may be shared. RuntimeError: without is_whole, a
// plain tensor for a parameter that is a DTensor; an unknown mesh.
Value LocalState(const models::Parameter& parameter, const Value& value, const Value* example, bool is_whole,
                 const MeshRegistry& meshes);

// *Local*. What LocalState would communicate for this value, and with which errors it would end; empty: nothing. Ranks
// call LocalState for a value only if all of them get the same text, so that none waits for the others.
std::string CommunicationFor(const models::Parameter& parameter, const Value& value, const Value* example,
                             bool is_whole, const MeshRegistry& meshes);

}  // namespace shardcts::reference
