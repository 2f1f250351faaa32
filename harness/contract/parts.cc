#include "contract/parts.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

at::Tensor CeilChunk(const at::Tensor& tensor, int64_t dim, int64_t parts, int64_t part) {
  const int64_t rows = tensor.size(dim);
  const int64_t chunk = (rows + parts - 1) / parts;
  const int64_t begin = std::min(part * chunk, rows);
  return tensor.narrow(dim, begin, std::min(chunk, rows - begin));
}

void Require(bool holds, const std::string& otherwise) {
  if (!holds) throw ContractViolation(otherwise);
}

// Number of elements. Throws ContractViolation for shapes that no tensor has.
int64_t Elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t size : shape) {
    Require(size >= 0 && !__builtin_mul_overflow(count, size, &count), "impossible shape " + ShapeToString(shape));
  }
  return count;
}

// The value of a rank as a tensor of the kind that is put together.
template <class T>
const T& PartOf(const std::vector<Value>& of_ranks, int64_t rank) {
  Require(rank >= 0 && rank < static_cast<int64_t>(of_ranks.size()), fmt::format("there is no rank {}", rank));
  const Value& value = of_ranks[static_cast<size_t>(rank)];
  const T* part = value.TryAs<T>();
  Require(part != nullptr, fmt::format("rank {} has {} there", rank, ToString(value)));
  return *part;
}

void RequireLayout(const DTensor& tensor) {
  const MeshLayout& mesh = tensor.mesh;
  const std::string layout = mesh.ToString() + " " + ToString(tensor.placements);
  Require(static_cast<int64_t>(mesh.ranks.size()) == Elements(mesh.shape) && !mesh.ranks.empty(),
          layout + ": a mesh of another number of ranks");
  Require(std::set(mesh.ranks.begin(), mesh.ranks.end()).size() == mesh.ranks.size(), layout + ": a rank stands twice");
  Require(tensor.placements.size() == mesh.shape.size(), layout + ": not one placement for each mesh dimension");
  for (const Placement& placement : tensor.placements) {
    Require(placement.kind != Placement::Kind::kPartial, layout + ": is partial");
    const auto dims = static_cast<int64_t>(tensor.shape.size());
    Require(!placement.IsShard() || (placement.dim >= 0 && placement.dim < dims),
            layout + ": splits a dimension that the tensor does not have");
  }
}

void RequirePart(const DTensor& tensor, const DTensor& part, int64_t rank, const at::Tensor& slice) {
  Require(part.mesh == tensor.mesh && part.placements == tensor.placements && part.shape == tensor.shape,
          fmt::format("rank {} says {} {} of shape {}, another rank {} {} of shape {}", rank, part.mesh.ToString(),
                      ToString(part.placements), ShapeToString(part.shape), tensor.mesh.ToString(),
                      ToString(tensor.placements), ShapeToString(tensor.shape)));
  Require(!part.local.is_meta(), fmt::format("rank {} holds a tensor without data", rank));
  Require(part.local.scalar_type() == tensor.local.scalar_type(),
          fmt::format("rank {} holds {}, another rank {}", rank, DtypeName(part.local.scalar_type()),
                      DtypeName(tensor.local.scalar_type())));
  const bool empty = slice.numel() == 0 && part.local.numel() == 0;
  Require(empty || part.local.sizes() == slice.sizes(),
          fmt::format("rank {} holds a part of shape {}, {} of shape {} gives {}", rank,
                      ShapeToString(part.local.sizes().vec()), ToString(tensor.placements),
                      ShapeToString(tensor.shape), ShapeToString(slice.sizes().vec())));
}

// The region of `whole` that a shard is for.
at::Tensor Region(const at::Tensor& whole, const ShardMetadata& shard) {
  at::Tensor region = whole;
  for (size_t d = 0; d < shard.sizes.size(); ++d) {
    region = region.narrow(static_cast<int64_t>(d), shard.offsets[d], shard.sizes[d]);
  }
  return region;
}

void RequireShard(const ShardedTensor& tensor, const LocalShard& shard, int64_t rank) {
  const ShardMetadata& metadata = shard.metadata;
  bool inside = metadata.offsets.size() == tensor.shape.size() && metadata.sizes.size() == tensor.shape.size();
  for (size_t d = 0; inside && d < tensor.shape.size(); ++d) {
    inside = metadata.offsets[d] >= 0 && metadata.sizes[d] >= 0 && metadata.sizes[d] <= tensor.shape[d] &&
             metadata.offsets[d] <= tensor.shape[d] - metadata.sizes[d];
  }
  Require(inside, fmt::format("rank {} holds a shard at {} of size {}, which is not inside {}", rank,
                              ShapeToString(metadata.offsets), ShapeToString(metadata.sizes),
                              ShapeToString(tensor.shape)));
  Require(std::ranges::count(tensor.metadata, metadata) == 1 && metadata.rank == rank,
          fmt::format("rank {} holds a shard at {}, of which the tensor's metadata says something else", rank,
                      ShapeToString(metadata.offsets)));
  Require(!shard.tensor.is_meta(), fmt::format("rank {} holds a shard without data", rank));
  Require(shard.tensor.sizes().vec() == metadata.sizes && shard.tensor.scalar_type() == tensor.dtype,
          fmt::format("rank {} holds {} of shape {} for a shard of {} and size {}", rank,
                      DtypeName(shard.tensor.scalar_type()), ShapeToString(shard.tensor.sizes().vec()),
                      DtypeName(tensor.dtype), ShapeToString(metadata.sizes)));
}

// The mesh dimensions that split tensor dimension `dim`, in the order in which they do: from the first to the last, but
// a strided shard over factor f after those later ones that split into f pieces. Nothing where none split into so many.
std::optional<std::vector<size_t>> SplitOrder(const MeshLayout& mesh, const std::vector<Placement>& placements,
                                              int64_t dim) {
  std::vector<size_t> order;
  for (size_t d = placements.size(); d-- > 0;) {
    if (!placements[d].IsShard() || placements[d].dim != dim) continue;
    size_t at = 0;
    int64_t pieces = 1;  // by order[0 … at)
    while (pieces != placements[d].split_factor && at < order.size()) pieces *= mesh.shape[order[at++]];
    if (pieces != placements[d].split_factor) return std::nullopt;
    order.insert(order.begin() + static_cast<std::ptrdiff_t>(at), d);
  }
  return order;
}

// The part-th of `parts` chunks of each of `pieces` chunks. A copy.
at::Tensor ChunkOfEach(const at::Tensor& tensor, int64_t dim, int64_t pieces, int64_t parts, int64_t part) {
  pieces = std::min(pieces, std::max<int64_t>(tensor.size(dim), 1));  // of more than there are rows the rest are empty
  std::vector<at::Tensor> chunks;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    chunks.push_back(CeilChunk(CeilChunk(tensor, dim, pieces, piece), dim, parts, part));
  }
  return at::cat(chunks, dim);
}

// Fills the part of `whole` that `rank` holds.
void Fill(const at::Tensor& whole, const DTensor& tensor, int64_t rank, const at::Tensor& slice,
          const at::Tensor& part) {
  if (slice.numel() == 0) return;
  if (slice.is_alias_of(whole)) {
    slice.copy_(part);
    return;
  }
  const at::Tensor places = at::arange(whole.numel(), at::kLong).view(whole.sizes());
  whole.view(-1).index_copy_(0, LocalSlice(places, tensor.mesh, tensor.placements, rank).flatten(), part.flatten());
}

}  // namespace

at::Tensor LocalSlice(const at::Tensor& full, const MeshLayout& mesh, const std::vector<Placement>& placements,
                      int64_t rank) {
  const std::vector<int64_t> coordinate = mesh.Coordinate(rank).value();
  for (const Placement& placement : placements) {
    Require(!placement.IsShard() || (placement.dim >= 0 && placement.dim < full.dim()),
            placement.ToString() + " splits a dimension that the tensor does not have");
  }
  at::Tensor local = full;
  for (int64_t dim = 0; dim < full.dim(); ++dim) {
    if (const auto order = SplitOrder(mesh, placements, dim)) {
      for (size_t d : *order) local = CeilChunk(local, dim, mesh.shape[d], coordinate[d]);
      continue;
    }
    for (size_t d = 0; d < placements.size(); ++d) {
      if (!placements[d].IsShard() || placements[d].dim != dim) continue;
      local = ChunkOfEach(local, dim, placements[d].split_factor, mesh.shape[d], coordinate[d]);
    }
  }
  return local;
}

at::Tensor Assemble(const DTensor& tensor, const std::vector<Value>& of_ranks) {
  const at::NoGradGuard no_grad;
  RequireLayout(tensor);
  const int64_t elements = Elements(tensor.shape);
  int64_t held = 0;
  for (int64_t rank : tensor.mesh.ranks) held += PartOf<DTensor>(of_ranks, rank).local.numel();
  Require(held >= elements, fmt::format("the ranks hold {} elements of {}", held, elements));
  const at::Tensor whole = at::empty(tensor.shape, at::TensorOptions().dtype(tensor.local.scalar_type()));
  for (int64_t rank : tensor.mesh.ranks) {
    const DTensor& part = PartOf<DTensor>(of_ranks, rank);
    const at::Tensor slice = LocalSlice(whole, tensor.mesh, tensor.placements, rank);
    RequirePart(tensor, part, rank, slice);
    Fill(whole, tensor, rank, slice, part.local);
  }
  if (held == elements) return whole;
  for (int64_t rank : tensor.mesh.ranks) {
    const at::Tensor slice = LocalSlice(whole, tensor.mesh, tensor.placements, rank);
    Require(TensorBytes(slice) == TensorBytes(PartOf<DTensor>(of_ranks, rank).local),
            fmt::format("rank {} holds other values than another rank with the same part", rank));
  }
  return whole;
}

at::Tensor Assemble(const ShardedTensor& tensor, const std::vector<Value>& of_ranks) {
  const at::NoGradGuard no_grad;
  const int64_t elements = Elements(tensor.shape);
  int64_t held = 0;
  for (int64_t rank : tensor.ranks) {
    const ShardedTensor& part = PartOf<ShardedTensor>(of_ranks, rank);
    Require(part.shape == tensor.shape && part.metadata == tensor.metadata && part.dtype == tensor.dtype,
            fmt::format("rank {} says something else of the tensor than another rank", rank));
    for (const LocalShard& shard : part.local_shards) {
      RequireShard(tensor, shard, rank);
      held += shard.tensor.numel();
    }
  }
  Require(held == elements, fmt::format("the ranks hold {} elements of {}", held, elements));
  const at::Tensor whole = at::empty(tensor.shape, at::TensorOptions().dtype(tensor.dtype));
  const at::Tensor covered = at::zeros(tensor.shape, at::kBool);
  for (int64_t rank : tensor.ranks) {
    for (const LocalShard& shard : PartOf<ShardedTensor>(of_ranks, rank).local_shards) {
      Region(whole, shard.metadata).copy_(shard.tensor);
      Region(covered, shard.metadata).fill_(true);
    }
  }
  Require(covered.all().item<bool>(), "the ranks' shards overlap");
  return whole;
}

}  // namespace shardcts
