// What may not be in a result, whatever its type: values that cannot be read, or only with more memory than there is.
// *Local*.
#pragma once

#include <optional>
#include <string>

#include "contract/value.h"

namespace shardcts {

constexpr int kMaxValueDepth = 100;  // lists and dicts inside one another

// Where and why `value` cannot be taken from an implementation: `["w"]: a tensor of layout Sparse`. Nothing when each of
// its tensors is defined, dense, of a dtype of the contract, and has a storage that is large enough; one that
// repeats its elements (expand) has at most 256 MiB.
std::optional<std::string> FindUnreadable(const Value& value);

}  // namespace shardcts
