// Converts between the library's tensors and the contract's values. All functions are *Local*; storage is shared both
// ways.
#pragma once

#include "contract/value.h"
#include "models/module.h"
#include "state_dict/state_dict_values.h"
#include "tensor/dtensor.h"
#include "tensor/mesh_registry.h"

namespace shardcts::reference {

// A parameter as it is in its slot: a plain tensor or a DTensor, marked as a parameter.
Value ParameterValue(const models::Parameter& parameter);
// Its gradient, with the parameter's placements; none if there is no gradient.
Value GradientValue(const models::Parameter& parameter);

// A DTensor that is not a parameter, with requires_grad of its local part.
Value DTensorValue(const DTensor& tensor);

// ValueError: not one of the placements' text forms.
std::vector<Placement> PlacementsFrom(const Value& value);

// TypeError: no dtype has this name.
at::ScalarType DtypeFrom(const std::string& text);

// RuntimeError: no such device.
at::Device DeviceFrom(const std::string& text);

}  // namespace shardcts::reference
