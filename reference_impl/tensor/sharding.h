// The arithmetic of sharding: which elements of a tensor a rank holds. Pure functions, all *Local*.
// Semantics: torch.distributed.tensor.placement_types and DTensorSpec, torch 2.13.
//
// One tensor dimension of n elements split over a mesh dimension of w ranks gives chunks of c = ceil(n / w) elements:
// rank i holds [min(i*c, n), min((i+1)*c, n)), so the last ranks hold fewer or none. A rank that holds none of a
// dimension still keeps the sizes of the other dimensions: 8x3 rows over 9 ranks leaves rank 8 with (0, 3).
//
// When several mesh dimensions split the same tensor dimension, the order of the splits matters. Each split divides the
// pieces of the earlier ones. The default order is that of the mesh dimensions. A strided shard changes it:
//
//   _StridedShard(d, f) on a mesh dimension means: later mesh dimensions have already split d into f pieces, and each
//   of those pieces is split here. mesh (dp=2, tp=2), n = 8, [_S(0,2), S(0)]: tp splits first, dp splits each half:
//
//       rank (dp, tp)   (0,0)  (0,1)  (1,0)  (1,1)
//       rows             0-1    4-5    2-3    6-7
//
// This is how fully_shard lays out a tensor-parallel parameter. ShardOrder finds the order of splits that the split
// factors describe. If there is none (a split factor that is not a product of mesh sizes), mesh dimensions are
// processed from left to right. Then a strided shard over w ranks splits its part into f chunks and each of these into
// w chunks; rank i holds the i-th of each, joined: with n = 9, f = 2, w = 4 the ranks hold {0,1,5} {2,3,6} {4,7} {8}.
//
// For uneven sizes the two interpretations of [_S(0,2), S(0)] can differ, for example for 7 rows on a 3x2 mesh.
// fully_shard and full_tensor of torch use the order of splits; its distribute_tensor goes from left to right and ends
// in an AssertionError in that case (measured, torch 2.13). Here DistributeTensor uses the order of splits too.
//
// In every case a rank holds an ascending subset of the indices of each dimension: a list of ranges.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "contract/placement.h"

namespace shardcts::reference {

// Half-open.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};
// Ascending, disjoint, none empty, neighbours merged.
using Ranges = std::vector<Range>;

int64_t TotalSize(const Ranges& ranges);

// ceil(size / num_chunks)
int64_t ChunkSize(int64_t size, int64_t num_chunks);
// The index-th of num_chunks chunks of [0, size); begin == end == size when it is empty.
Range Chunk(int64_t size, int64_t num_chunks, int64_t index);

// The placements with negative dims counted from the end.
// ValueError: not one placement per mesh dimension. IndexError: a dim that the tensor does not have.
std::vector<Placement> NormalizePlacements(const std::vector<Placement>& placements, int64_t tensor_dims,
                                           int64_t mesh_dims);

// The mesh dimensions that split `tensor_dim`, in the order of the splits; nullopt when the split factors describe no
// order. Source: DTensorSpec._maybe_convert_StridedShard_to_shard_order.
std::optional<std::vector<int64_t>> ShardOrder(const std::vector<Placement>& placements,
                                               const std::vector<int64_t>& mesh_shape, int64_t tensor_dim);

// The indices of `tensor_dim` (of `size` elements) that the rank at `coordinate` holds.
Ranges OwnedRanges(int64_t size, int64_t tensor_dim, const std::vector<int64_t>& mesh_shape,
                   const std::vector<int64_t>& coordinate, const std::vector<Placement>& placements);

// The shape of the local part at `coordinate`.
std::vector<int64_t> LocalShape(const std::vector<int64_t>& shape, const std::vector<int64_t>& mesh_shape,
                                const std::vector<int64_t>& coordinate, const std::vector<Placement>& placements);

// The global index of the first element of the local part in each dimension; the size of the dimension if the local
// part is empty there.
std::vector<int64_t> GlobalOffset(const std::vector<int64_t>& shape, const std::vector<int64_t>& mesh_shape,
                                  const std::vector<int64_t>& coordinate, const std::vector<Placement>& placements);

// The placements of a tensor-parallel parameter that fully_shard shards further, on the mesh (dp dims..., tp dims...).
// `data_parallel`: fully_shard's own placements ([Shard(d)], or [Replicate, Shard(d)]). Its Shard(d) becomes
// _StridedShard(d, f) if the tp mesh has already split d into f > 1 pieces. Source: FSDPParam, _fsdp_param.py.
std::vector<Placement> ComposeDataAndTensorParallel(const std::vector<Placement>& data_parallel,
                                                    const std::vector<Placement>& tensor_parallel,
                                                    const std::vector<int64_t>& tensor_parallel_mesh_shape);

}  // namespace shardcts::reference
