// Where the ranks' parts of a DTensor lie when an implementation cuts as it likes (docs/contract.md, Layout): along a
// mesh dimension that shards, ranks hold consecutive rows in the order of their coordinates; how many is theirs to
// choose. Computed from the sizes of the parts, without the implementation under test. All functions are *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <vector>

#include "contract/value.h"

namespace shardcts {

// The shape of each rank's local part, by global rank.
using PartShapes = std::map<int64_t, std::vector<int64_t>>;

// The part of `full` that `rank` holds; a view of it. Throws ContractViolation naming the rank when the parts do not
// tile the tensor: a gap, an excess, another size in a dimension that is not sharded. A tensor dimension that two mesh
// dimensions split is cut as LocalSlice does (parts.h).
at::Tensor ObservedSlice(const at::Tensor& full, const DTensor& tensor, const PartShapes& parts, int64_t rank);

// As Assemble (parts.h).
at::Tensor AssembleObserved(const DTensor& tensor, const std::vector<Value>& of_ranks);

}  // namespace shardcts
