// Moving elements between the ranks of a group: each rank holds some ranges of a sequence of elements and needs others.
//
//             rank 0              rank 1
//   have      | 0 1 2 3 4 5 |     | 6 7 8 9 |        shards of a flat parameter
//   want      | 0 1 | 4 5 6 |     | 2 3 | 7 8 9 |    rows of two parameters
//   moved     2 3 to rank 1       6 to rank 0        the others are copied locally
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "comm/communicator.h"
#include "fsdp/flatten_layout.h"

namespace shardcts::reference {

// In the order of the group's ranks. Runs may be empty, and a rank may have none.
using RangesByRank = std::vector<std::vector<FlatRange>>;

// *Collective* over the group. `have` and `want` are the same on all ranks. from[i] holds the elements have[rank][i].
// to[i] receives those elements of want[rank][i] that some rank has; its other elements do not change. If a rank has an
// element in several ranges, the last one is used; an element must not be held by several ranks. Tensors are 1-D and
// contiguous, of one dtype, on the backend's device; no `from` overlaps a `to`.
//
// A peer is sent exactly the elements that it needs, directly from `from` to `to`.
void ExchangeRanges(Communicator& group, const RangesByRank& have, const RangesByRank& want,
                    std::span<const at::Tensor> from, std::span<const at::Tensor> to);

}  // namespace shardcts::reference
