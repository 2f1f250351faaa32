// Rank 0 has a full tensor; every rank gets its part.
#pragma once

#include "comm/communicator.h"
#include "parameter/dtensor_parameter.h"

namespace shardcts::reference {

// *Local*, the same result on all ranks. Whether the parts are rows over all ranks of the world in order. Then each
// rank receives exactly its own rows.
bool AreRowsOfWorld(const DTensorDistribution& layout, const Communicator& world);

// *Collective* over the world, for a layout of which AreRowsOfWorld holds. Returns this rank's rows: `place` itself,
// filled, if it is a contiguous tensor of their shape and dtype on the world's device, otherwise a new tensor there.
// `whole`: shape layout.shape; read on rank 0 only; `dtype` is the same on all ranks.
at::Tensor RowsFromRank0(const at::Tensor& whole, at::ScalarType dtype, const DTensorDistribution& layout,
                         Communicator& world, const at::Tensor& place);

}  // namespace shardcts::reference
