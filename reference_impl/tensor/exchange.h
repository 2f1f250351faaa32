// Moving tensors between the ranks of a group, each from whoever has it straight to where it is wanted.
#pragma once

#include <vector>

#include "comm/communicator.h"

namespace shardcts::reference {

using TensorsByRank = Communicator::TensorsByRank;

// *Local*. Whether a backend's direct way pays for so many elements from rank to rank.
bool IsWorthADirectWay(int64_t numel);

// *Collective* over the group. sends[r] goes to rank r, receives[r] comes from there: as many tensors, each of as many
// elements, in the same order; what a rank sends itself is copied. Tensors are contiguous, on the backend's device; no
// tensor received overlaps one sent. `numel`: how many elements go from rank to rank in all, the same on all ranks.
//
// The backend's direct way where it has one and it is worth it, else one message for each tensor.
void ExchangeTensors(Communicator& group, const TensorsByRank& sends, const TensorsByRank& receives, int64_t numel);

// *Local*. For each of `ranks` ranks its chunk of dimension 0 (Chunk, tensor/sharding.h), as a view.
TensorsByRank RowsByRank(const at::Tensor& whole, int64_t ranks);

// *Collective* over the group. Each rank's `part`, one behind the other, on the root; undefined elsewhere. Parts have as
// many elements on all ranks.
at::Tensor GatherTo(Communicator& group, const at::Tensor& part, int root);

}  // namespace shardcts::reference
