// Whether the parts that the ranks hold of position-coded data form the tensor: each element exactly once. *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

#include "rank/verification.h"

namespace shardcts::extended {

// The parts of a DTensor, its local tensor; of a ShardedTensor, its local shards; a plain tensor itself.
std::vector<at::Tensor> PartsOf(const Value& value);

// Gaps, overlaps and foreign elements are told by the position of the first one.
Verification Tile(std::string_view what, const at::Tensor& full, const std::vector<at::Tensor>& parts);

// No rank after one without elements has any. `parts[r]`: those of rank r.
Verification EmptyOnesAtTheEnd(std::string_view what, const std::vector<std::vector<at::Tensor>>& parts);

}  // namespace shardcts::extended
