// Sharded tensors whose metadata say where each shard is, made without the implementation. *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "rank/trial.h"

namespace shardcts::storage {

// One shard: on which rank, and where.
struct ShardPlace {
  int64_t rank;
  std::vector<int64_t> offsets;
  std::vector<int64_t> sizes;
};

// What this rank has of a sharded tensor over the pool that consists of these shards, copied out of `whole`, which may
// end before a shard does.
ShardedTensor ShardedOf(const Trial& t, const at::Tensor& whole, const std::vector<ShardPlace>& places);

}  // namespace shardcts::storage
