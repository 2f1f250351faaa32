// Values as bytes, for messages between the ranks of one run. Not a file format. *Local*.
#pragma once

#include <string>
#include <string_view>

#include "contract/value.h"

namespace shardcts {

// Throws ContractViolation for an undefined tensor.
std::string PackValue(const Value& value);

// A copy of the packed value without origins; its tensors are on the CPU (or on the meta device, as they were).
Value UnpackValue(std::string_view bytes);

}  // namespace shardcts
