#include "suites/storage/sharded.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace shardcts::storage {

ShardedTensor ShardedOf(const Trial& t, const at::Tensor& whole, const std::vector<ShardPlace>& places) {
  ShardedTensor tensor{.shape = whole.sizes().vec(), .dtype = whole.scalar_type()};
  for (int64_t rank = 0; rank < t.world_size(); ++rank) tensor.ranks.push_back(rank);
  for (const ShardPlace& place : places) {
    const ShardMetadata metadata{place.offsets, place.sizes, place.rank, t.device()};
    tensor.metadata.push_back(metadata);
    if (place.rank != t.rank()) continue;
    at::Tensor local = at::zeros(place.sizes, whole.options());
    at::Tensor part = whole, target = local;
    for (size_t dim = 0; dim < place.sizes.size(); ++dim) {
      const int64_t length = std::min(place.sizes[dim], whole.size(static_cast<int64_t>(dim)) - place.offsets[dim]);
      part = part.narrow(static_cast<int64_t>(dim), place.offsets[dim], length);
      target = target.narrow(static_cast<int64_t>(dim), 0, length);
    }
    target.copy_(part);
    tensor.local_shards.push_back({metadata, local});
  }
  return tensor;
}

}  // namespace shardcts::storage
