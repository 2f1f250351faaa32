// Which part of a distributed tensor each rank holds, as boxes. *Local*.
#pragma once

#include "contract/value.h"

namespace shardcts::reference {

struct RankChunk {
  int64_t rank = 0;  // global
  std::vector<int64_t> offsets;
  std::vector<int64_t> sizes;
};

// For each rank of the mesh, in its order, its boxes: one, or several where its rows are not contiguous, in ascending
// order. An empty part is a box of size 0 at the end of the dimension. ValueError, IndexError as NormalizePlacements.
std::vector<RankChunk> ChunksOf(const MeshLayout& mesh, const std::vector<Placement>& placements,
                                const std::vector<int64_t>& shape);

// Those of all shards, in the order of the metadata.
std::vector<RankChunk> ChunksOf(const ShardedTensor& sharded);

}  // namespace shardcts::reference
