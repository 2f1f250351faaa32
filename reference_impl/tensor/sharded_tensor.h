// ShardedTensors: a tensor as a list of shards, some of them on this rank. Semantics:
// torch.distributed._shard.sharded_tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "contract/value.h"

namespace shardcts::reference {

// *Local*. A tensor of this shape, sharded along dimension 0 into chunks of `rows` rows, one for each rank of the group
// in order until no rows are left. `local` is this rank's chunk; it is not read on a rank without one.
ShardedTensor MakeShardedTensor(const std::vector<int64_t>& shape, int64_t rows, const at::Tensor& local,
                                const Communicator& group);

// *Local*. The same with every local tensor replaced by `change` of it; the metadata name the devices of the results.
ShardedTensor WithLocalTensors(const ShardedTensor& tensor, const std::function<at::Tensor(const at::Tensor&)>& change);

// *Collective* over the group, whose ranks hold the shards, cut in any way. The full tensor on every rank, without
// autograd history, on the device of the local shard; 0 where there is no shard.
at::Tensor GatherShardedTensor(const ShardedTensor& tensor, Communicator& group);

}  // namespace shardcts::reference
