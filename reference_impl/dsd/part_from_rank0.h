// Rank 0 has a whole tensor, and each rank is to have its part of it.
#pragma once

#include "comm/communicator.h"
#include "parameter/dtensor_parameter.h"

namespace shardcts::reference {

// *Local*, the same on all ranks. Whether the parts are rows over all ranks of the world in their order: then each rank
// gets its own and nothing else.
bool AreRowsOfWorld(const DTensorDistribution& layout, const Communicator& world);

// *Collective* over the world, for a layout of which AreRowsOfWorld holds. This rank's rows: `place` itself, filled, where
// that is a contiguous CPU tensor of their shape and dtype, else a new tensor. `whole`: of layout.shape, on rank 0 its
// values, elsewhere not read; `dtype` is the same on all ranks.
at::Tensor RowsFromRank0(const at::Tensor& whole, at::ScalarType dtype, const DTensorDistribution& layout,
                         Communicator& world, const at::Tensor& place);

}  // namespace shardcts::reference
