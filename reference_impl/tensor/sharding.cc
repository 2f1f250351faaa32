#include "tensor/sharding.h"

#include <algorithm>
#include <string>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

bool Cuts(const Placement& placement, int64_t tensor_dim) {
  return placement.IsShard() && placement.dim == tensor_dim;
}

int64_t SplitFactor(const Placement& placement) {
  return placement.kind == Placement::Kind::kStridedShard ? placement.split_factor : 1;
}

// Appends a range that is past all others.
void Append(Ranges& ranges, Range next) {
  if (next.size() <= 0) return;
  if (!ranges.empty() && ranges.back().end == next.begin) {
    ranges.back().end = next.end;
  } else {
    ranges.push_back(next);
  }
}

// Appends to `taken` the elements at the given positions, counted through the ranges.
void Take(const Ranges& ranges, Range positions, Ranges& taken) {
  int64_t passed = 0;
  for (const Range& range : ranges) {
    const int64_t begin = std::max(positions.begin - passed, int64_t{0});
    const int64_t end = std::min(positions.end - passed, range.size());
    Append(taken, {range.begin + begin, range.begin + end});
    passed += range.size();
  }
}

// The index-th of `size` parts that a placement makes of `ranges`.
Ranges Cut(const Ranges& ranges, int64_t split_factor, int64_t size, int64_t index) {
  const int64_t total = TotalSize(ranges);
  Ranges part;
  for (int64_t piece_index = 0; piece_index < split_factor; ++piece_index) {
    const Range piece = Chunk(total, split_factor, piece_index);
    const Range chunk = Chunk(piece.size(), size, index);
    Take(ranges, {piece.begin + chunk.begin, piece.begin + chunk.end}, part);
  }
  return part;
}

}  // namespace

int64_t TotalSize(const Ranges& ranges) {
  int64_t total = 0;
  for (const Range& range : ranges) total += range.size();
  return total;
}

int64_t ChunkSize(int64_t size, int64_t num_chunks) { return (size + num_chunks - 1) / num_chunks; }

Range Chunk(int64_t size, int64_t num_chunks, int64_t index) {
  const int64_t chunk = ChunkSize(size, num_chunks);
  return {std::min(index * chunk, size), std::min((index + 1) * chunk, size)};
}

std::vector<Placement> NormalizePlacements(const std::vector<Placement>& placements, int64_t tensor_dims,
                                           int64_t mesh_dims) {
  if (static_cast<int64_t>(placements.size()) != mesh_dims) {
    throw SemanticError("ValueError", "`placements` has " + std::to_string(placements.size()) +
                                          " elements for a mesh of " + std::to_string(mesh_dims) + " dimensions");
  }
  std::vector<Placement> normalized = placements;
  for (Placement& placement : normalized) {
    if (!placement.IsShard()) continue;
    if (placement.dim < 0) placement.dim += tensor_dims;
    if (placement.dim < 0 || placement.dim >= tensor_dims) {
      throw SemanticError("IndexError", "placements " + ToString(placements) + " shard a dimension that a tensor of " +
                                            std::to_string(tensor_dims) + " dimensions does not have");
    }
  }
  return normalized;
}

std::optional<std::vector<int64_t>> ShardOrder(const std::vector<Placement>& placements,
                                               const std::vector<int64_t>& mesh_shape, int64_t tensor_dim) {
  std::vector<int64_t> order;
  // From right to left: a split factor counts the pieces made by those mesh dimensions to its right that come before it
  // in the order.
  for (int64_t mesh_dim = static_cast<int64_t>(placements.size()) - 1; mesh_dim >= 0; --mesh_dim) {
    if (!Cuts(placements[mesh_dim], tensor_dim)) continue;
    const int64_t split_factor = SplitFactor(placements[mesh_dim]);
    int64_t pieces = 1;
    auto place = order.begin();
    while (pieces != split_factor && place != order.end()) pieces *= mesh_shape[*place++];
    if (pieces != split_factor) return std::nullopt;
    order.insert(place, mesh_dim);
  }
  return order;
}

Ranges OwnedRanges(int64_t size, int64_t tensor_dim, const std::vector<int64_t>& mesh_shape,
                   const std::vector<int64_t>& coordinate, const std::vector<Placement>& placements) {
  Ranges owned;
  Append(owned, {0, size});
  if (const auto order = ShardOrder(placements, mesh_shape, tensor_dim)) {
    for (int64_t mesh_dim : *order) owned = Cut(owned, 1, mesh_shape[mesh_dim], coordinate[mesh_dim]);
    return owned;
  }
  for (size_t mesh_dim = 0; mesh_dim < placements.size(); ++mesh_dim) {
    if (!Cuts(placements[mesh_dim], tensor_dim)) continue;
    owned = Cut(owned, SplitFactor(placements[mesh_dim]), mesh_shape[mesh_dim], coordinate[mesh_dim]);
  }
  return owned;
}

std::vector<int64_t> LocalShape(const std::vector<int64_t>& shape, const std::vector<int64_t>& mesh_shape,
                                const std::vector<int64_t>& coordinate, const std::vector<Placement>& placements) {
  std::vector<int64_t> local;
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    local.push_back(TotalSize(OwnedRanges(shape[dim], dim, mesh_shape, coordinate, placements)));
  }
  return local;
}

std::vector<int64_t> GlobalOffset(const std::vector<int64_t>& shape, const std::vector<int64_t>& mesh_shape,
                                  const std::vector<int64_t>& coordinate, const std::vector<Placement>& placements) {
  std::vector<int64_t> offset;
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    const Ranges owned = OwnedRanges(shape[dim], dim, mesh_shape, coordinate, placements);
    offset.push_back(owned.empty() ? shape[dim] : owned.front().begin);
  }
  return offset;
}

std::vector<Placement> ComposeDataAndTensorParallel(const std::vector<Placement>& data_parallel,
                                                    const std::vector<Placement>& tensor_parallel,
                                                    const std::vector<int64_t>& tensor_parallel_mesh_shape) {
  std::vector<Placement> composed = data_parallel;
  for (Placement& placement : composed) {
    if (!placement.IsShard()) continue;
    int64_t pieces = 1;
    for (size_t mesh_dim = 0; mesh_dim < tensor_parallel.size(); ++mesh_dim) {
      if (Cuts(tensor_parallel[mesh_dim], placement.dim)) pieces *= tensor_parallel_mesh_shape[mesh_dim];
    }
    if (pieces > 1) placement = Placement::StridedShard(placement.dim, pieces);
  }
  composed.insert(composed.end(), tensor_parallel.begin(), tensor_parallel.end());
  return composed;
}

}  // namespace shardcts::reference
