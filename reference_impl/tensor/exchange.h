// Moving tensors between the ranks of a group, each directly from its source to its destination.
#pragma once

#include <vector>

#include "comm/communicator.h"

namespace shardcts::reference {

using TensorsByRank = Communicator::TensorsByRank;

// *Local*. Whether the backend's direct exchange is faster than messages for this many elements in total.
bool IsWorthADirectWay(int64_t numel);

// *Collective* over the group. sends[r] goes to rank r, receives[r] comes from rank r. Both ranks pass matching counts
// and sizes, in the same order; what a rank sends to itself is copied. Tensors are contiguous, on the backend's device;
// no received tensor overlaps a sent one. `numel`: the number of elements that move between ranks in total, the same on
// all ranks.
//
// Uses the backend's direct exchange if there is one and it is faster, otherwise one message for each tensor.
void ExchangeTensors(Communicator& group, const TensorsByRank& sends, const TensorsByRank& receives, int64_t numel);

// *Local*. For each of `ranks` ranks its chunk of dimension 0 (Chunk, tensor/sharding.h), as a view of `whole`.
TensorsByRank RowsByRank(const at::Tensor& whole, int64_t ranks);

// *Collective* over the group. On the root the `part` of each rank, concatenated in rank order; undefined elsewhere.
// All parts have the same number of elements.
at::Tensor GatherTo(Communicator& group, const at::Tensor& part, int root);

}  // namespace shardcts::reference
