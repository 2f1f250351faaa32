#include "storage/pieces.h"

#include <ATen/ATen.h>

#include "tensor/semantic_error.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

[[noreturn]] void Fail(const std::string& problem) { throw SemanticError("RuntimeError", problem); }

at::Tensor Memory(const at::Tensor& tensor) {
  if (tensor.is_meta()) Fail("a tensor on the meta device has no values");
  if (tensor.layout() != at::kStrided) Fail("a tensor that is not dense");
  return tensor.detach();
}

// The combinations of one range of each dimension, the last dimension fastest; the parts of `local` follow each other
// as the ranges do.
void AddPieces(const std::vector<Ranges>& ranges, size_t dim, Piece piece, std::vector<Piece>& pieces) {
  if (dim == ranges.size()) return pieces.push_back(std::move(piece));
  int64_t begin = 0;
  for (const Range& range : ranges[dim]) {
    Piece next = piece;
    next.box.offsets.push_back(range.begin);
    next.box.sizes.push_back(range.size());
    next.tensor = piece.tensor.narrow(static_cast<int64_t>(dim), begin, range.size());
    begin += range.size();
    AddPieces(ranges, dim + 1, std::move(next), pieces);
  }
}

HeldTensor Held(int64_t rank, const shardcts::DTensor& tensor) {
  HeldTensor held{tensor.local.scalar_type(), tensor.shape, {}};
  const std::vector<Placement> placements =
      NormalizePlacements(tensor.placements, static_cast<int64_t>(tensor.shape.size()), tensor.mesh.NumDims());
  for (const Placement& placement : placements) {
    if (placement.kind == Placement::Kind::kPartial) Fail("partial values (" + placement.ToString() + ") are no values");
  }
  const auto coordinate = tensor.mesh.Coordinate(rank);
  if (!coordinate) return held;
  std::vector<Ranges> ranges;
  std::vector<int64_t> sizes;
  for (size_t dim = 0; dim < tensor.shape.size(); ++dim) {
    Ranges owned =
        OwnedRanges(tensor.shape[dim], static_cast<int64_t>(dim), tensor.mesh.shape, *coordinate, placements);
    if (owned.empty()) owned.push_back({tensor.shape[dim], tensor.shape[dim]});
    sizes.push_back(TotalSize(owned));
    ranges.push_back(std::move(owned));
  }
  if (tensor.local.sizes() != at::IntArrayRef(sizes)) {
    Fail("the local part is " + ShapeToString(tensor.local.sizes()) + ", its placements give " + ShapeToString(sizes));
  }
  AddPieces(ranges, 0, {{}, Memory(tensor.local)}, held.pieces);
  return held;
}

HeldTensor Held(const ShardedTensor& tensor) {
  HeldTensor held{tensor.dtype, tensor.shape, {}};
  for (const LocalShard& shard : tensor.local_shards) {
    if (shard.tensor.sizes() != at::IntArrayRef(shard.metadata.sizes)) {
      Fail("a local shard is " + ShapeToString(shard.tensor.sizes()) + ", its metadata say " +
           ShapeToString(shard.metadata.sizes));
    }
    held.pieces.push_back({{shard.metadata.offsets, shard.metadata.sizes}, Memory(shard.tensor)});
  }
  return held;
}

}  // namespace

HeldTensor HeldBy(int64_t rank, const Value& value) {
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) return Held(rank, *distributed);
  if (const auto* sharded = value.TryAs<ShardedTensor>()) return Held(*sharded);
  const at::Tensor& plain = value.AsTensor();
  const std::vector<int64_t> shape = plain.sizes().vec();
  return {plain.scalar_type(), shape, {{WholeBox(shape), Memory(plain)}}};
}

}  // namespace shardcts::reference
