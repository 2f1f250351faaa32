// Values as bytes: what ranks of one run send each other, and what the reference writes for torch.save. *Local*.
// All numbers are little-endian, texts and lists have their length in front.
#pragma once

#include <string>
#include <string_view>

#include "contract/value.h"

namespace shardcts {

// Throws ContractViolation for an undefined tensor, and for a value nested more than 64 deep.
std::string PackValue(const Value& value);

// A copy of what was packed, without origins, its tensors on the CPU (or on meta, as they were), with storage of their
// own. The bytes may come from anywhere: what PackValue has not written is a ContractViolation that says at which byte.
Value UnpackValue(std::string_view bytes);

}  // namespace shardcts
