// Moving elements between the ranks of a group, where each rank has some runs of a row of elements and wants others.
//
//             rank 0              rank 1
//   have      | 0 1 2 3 4 5 |     | 6 7 8 9 |        shards of a flat parameter
//   want      | 0 1 | 4 5 6 |     | 2 3 | 7 8 9 |    rows of two parameters
//   moved     2 3 to rank 1       6 to rank 0        what is wanted where it is, is copied there
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "comm/communicator.h"
#include "fsdp/flatten_layout.h"

namespace shardcts::reference {

// In the order of the group's ranks. Runs may be empty, and a rank may have none.
using RangesByRank = std::vector<std::vector<FlatRange>>;

// *Collective* over the group. `have` and `want` are the same on all ranks. from[i] holds the elements
// have[rank][i]; to[i] gets, of the elements want[rank][i], those that some rank has, the others stay as they are. Of an
// element that a rank has in several runs the last one counts; that several ranks have one is not foreseen.
// Tensors are 1-D and contiguous, of one dtype, on the backend's device; no `from` overlaps a `to`.
//
// A peer is sent what it wants and nothing else, straight from `from` into `to`.
void ExchangeRanges(Communicator& group, const RangesByRank& have, const RangesByRank& want,
                    std::span<const at::Tensor> from, std::span<const at::Tensor> to);

}  // namespace shardcts::reference
