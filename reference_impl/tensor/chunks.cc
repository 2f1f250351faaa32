#include "tensor/chunks.h"

#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

// Every combination of one range of each dimension, the last dimension fastest.
std::vector<RankChunk> Boxes(int64_t rank, const std::vector<Ranges>& ranges) {
  std::vector<RankChunk> boxes{{rank, {}, {}}};
  for (const Ranges& of_dim : ranges) {
    std::vector<RankChunk> next;
    for (const RankChunk& box : boxes) {
      for (const Range& range : of_dim) {
        next.push_back(box);
        next.back().offsets.push_back(range.begin);
        next.back().sizes.push_back(range.size());
      }
    }
    boxes = std::move(next);
  }
  return boxes;
}

std::vector<int64_t> CoordinateAt(size_t position, const std::vector<int64_t>& mesh_shape) {
  std::vector<int64_t> coordinate(mesh_shape.size());
  for (size_t dim = mesh_shape.size(); dim-- > 0;) {
    coordinate[dim] = static_cast<int64_t>(position) % mesh_shape[dim];
    position /= static_cast<size_t>(mesh_shape[dim]);
  }
  return coordinate;
}

}  // namespace

std::vector<RankChunk> ChunksOf(const MeshLayout& mesh, const std::vector<Placement>& placements,
                                const std::vector<int64_t>& shape) {
  const std::vector<Placement> normalized =
      NormalizePlacements(placements, static_cast<int64_t>(shape.size()), mesh.NumDims());
  std::vector<RankChunk> chunks;
  for (size_t position = 0; position < mesh.ranks.size(); ++position) {
    const std::vector<int64_t> coordinate = CoordinateAt(position, mesh.shape);
    std::vector<Ranges> ranges;
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      Ranges owned = OwnedRanges(shape[dim], static_cast<int64_t>(dim), mesh.shape, coordinate, normalized);
      if (owned.empty()) owned.push_back({shape[dim], shape[dim]});
      ranges.push_back(std::move(owned));
    }
    for (RankChunk& box : Boxes(mesh.ranks[position], ranges)) chunks.push_back(std::move(box));
  }
  return chunks;
}

std::vector<RankChunk> ChunksOf(const ShardedTensor& sharded) {
  std::vector<RankChunk> chunks;
  for (const ShardMetadata& shard : sharded.metadata) chunks.push_back({shard.rank, shard.offsets, shard.sizes});
  return chunks;
}

}  // namespace shardcts::reference
