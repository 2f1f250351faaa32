// ShardedTensors: a tensor in pieces, some of them on this rank. Semantics: torch.distributed._shard.sharded_tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "contract/value.h"

namespace shardcts::reference {

// *Local*. A tensor of this shape cut along dimension 0 into chunks of `rows` rows, one for each rank of the group in
// order until nothing is left; `local` is this rank's chunk, not read when there is none for it.
ShardedTensor MakeShardedTensor(const std::vector<int64_t>& shape, int64_t rows, const at::Tensor& local,
                                const Communicator& group);

// *Local*. The same with `change` made of every local tensor; the metadata tell the devices of the results.
ShardedTensor WithLocalTensors(const ShardedTensor& tensor, const std::function<at::Tensor(const at::Tensor&)>& change);

// *Collective* over the group, whose ranks hold the chunks in its order, each ceil(size of dimension 0 / ranks) rows
// but the last ones. The whole tensor on every rank, without autograd history, where the local shard is.
// RuntimeError: a local shard larger than that.
at::Tensor GatherShardedTensor(const ShardedTensor& tensor, Communicator& group, at::Device device);

}  // namespace shardcts::reference
