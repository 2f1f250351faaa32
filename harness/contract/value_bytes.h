// Values as bytes: what ranks of one run send each other. Not a format: nothing keeps it. *Local*.
#pragma once

#include <string>
#include <string_view>

#include "contract/value.h"

namespace shardcts {

// Throws ContractViolation for an undefined tensor.
std::string PackValue(const Value& value);

// A copy of what was packed, without origins, its tensors on the CPU (or on meta, as they were).
// Throws ContractViolation when `bytes` end before the value, or go on after it.
Value UnpackValue(std::string_view bytes);

}  // namespace shardcts
