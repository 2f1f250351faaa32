// Between the library's tensors and the contract's values. All functions are *Local*; storage is shared both ways.
#pragma once

#include "contract/value.h"
#include "models/module.h"
#include "state_dict/state_dict_values.h"
#include "tensor/dtensor.h"
#include "tensor/mesh_registry.h"

namespace shardcts::reference {

// A parameter as it stands in its slot: a plain tensor or a DTensor, marked as a parameter.
Value ParameterValue(const models::Parameter& parameter);
// Its gradient, placed like the parameter; none when there is none.
Value GradientValue(const models::Parameter& parameter);

// A DTensor that is no parameter, with requires_grad of its local part.
Value DTensorValue(const DTensor& tensor);

// ValueError: not one of the placements' text forms.
std::vector<Placement> PlacementsFrom(const Value& value);

// TypeError: no dtype is called so.
at::ScalarType DtypeFrom(const std::string& text);

// RuntimeError: no such device.
at::Device DeviceFrom(const std::string& text);

}  // namespace shardcts::reference
