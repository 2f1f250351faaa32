#include "contract/observed_cut.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "contract/parts.h"
#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

// Some tensor dimension is split by several mesh dimensions of more than one rank, or in several ranges a rank.
bool IsSplitTwice(const DTensor& tensor) {
  std::map<int64_t, int> splits;
  for (size_t d = 0; d < tensor.placements.size(); ++d) {
    const Placement& placement = tensor.placements[d];
    if (placement.IsShard() && tensor.mesh.shape[d] > 1) splits[placement.dim] += placement.split_factor > 1 ? 2 : 1;
  }
  return std::ranges::any_of(splits, [](const auto& split) { return split.second > 1; });
}

// The size of the rank's part in a tensor dimension. Of an empty part the other dimensions may be lost.
int64_t SizeIn(const PartShapes& parts, int64_t rank, int64_t dim, size_t dims) {
  const auto found = parts.find(rank);
  if (found == parts.end()) throw ContractViolation(fmt::format("rank {} has no part", rank));
  const std::vector<int64_t>& shape = found->second;
  if (shape.size() == dims) return shape[static_cast<size_t>(dim)];
  if (std::ranges::count(shape, 0)) return 0;
  throw ContractViolation(fmt::format("rank {} holds a part of shape {} of a tensor with {} dimensions", rank,
                                      ShapeToString(shape), dims));
}

// The rank's rows in the dimension that mesh dimension `d` splits.
at::Tensor Narrowed(const at::Tensor& whole, const DTensor& tensor, const PartShapes& parts, size_t d, int64_t rank) {
  const int64_t dim = tensor.placements[d].dim;
  const std::vector<int64_t> own = tensor.mesh.Coordinate(rank).value();
  int64_t begin = 0, covered = 0;
  for (const int64_t peer : tensor.mesh.ranks) {
    std::vector<int64_t> coordinate = tensor.mesh.Coordinate(peer).value();
    const bool before = coordinate[d] < own[d];
    coordinate[d] = own[d];
    if (coordinate != own) continue;
    const int64_t size = SizeIn(parts, peer, dim, tensor.shape.size());
    covered += size;
    if (before) begin += size;
  }
  if (covered != whole.size(dim)) {
    throw ContractViolation(
        fmt::format("the ranks hold {} rows of dimension {}, which has {}", covered, dim, whole.size(dim)));
  }
  return whole.narrow(dim, begin, SizeIn(parts, rank, dim, tensor.shape.size()));
}

}  // namespace

at::Tensor ObservedSlice(const at::Tensor& full, const DTensor& tensor, const PartShapes& parts, int64_t rank) {
  if (!tensor.mesh.Coordinate(rank) || !parts.contains(rank)) {
    throw ContractViolation(fmt::format("rank {} has a part, but is not in {}", rank, tensor.mesh.ToString()));
  }
  if (IsSplitTwice(tensor)) return LocalSlice(full, tensor.mesh, tensor.placements, rank);
  at::Tensor slice = full;
  for (size_t d = 0; d < tensor.placements.size(); ++d) {
    if (tensor.placements[d].IsShard() && tensor.mesh.shape[d] > 1) slice = Narrowed(slice, tensor, parts, d, rank);
  }
  const std::vector<int64_t>& shape = parts.at(rank);
  if (slice.numel() > 0 && slice.sizes().vec() != shape) {
    throw ContractViolation(fmt::format("rank {} holds a part of shape {}, {} of shape {} gives {}", rank,
                                        ShapeToString(shape), ToString(tensor.placements), ShapeToString(tensor.shape),
                                        ShapeToString(slice.sizes().vec())));
  }
  return slice;
}

at::Tensor AssembleObserved(const DTensor& tensor, const std::vector<Value>& of_ranks) {
  const at::NoGradGuard no_grad;
  if (IsSplitTwice(tensor)) return Assemble(tensor, of_ranks);
  PartShapes parts;
  for (const int64_t rank : tensor.mesh.ranks) {
    const Value& value = of_ranks.at(static_cast<size_t>(rank));
    const DTensor* part = value.TryAs<DTensor>();
    if (!part) throw ContractViolation(fmt::format("rank {} has {} there", rank, ToString(value)));
    const bool agrees = part->mesh == tensor.mesh && part->placements == tensor.placements &&
                        part->shape == tensor.shape && part->local.scalar_type() == tensor.local.scalar_type();
    if (!agrees) {
      throw ContractViolation(fmt::format("rank {} says something else of the tensor than another rank", rank));
    }
    if (part->local.is_meta()) throw ContractViolation(fmt::format("rank {} holds a tensor without data", rank));
    parts[rank] = part->local.sizes().vec();
  }
  const at::Tensor whole = at::empty(tensor.shape, at::TensorOptions().dtype(tensor.local.scalar_type()));
  std::vector<std::pair<int64_t, at::Tensor>> slices;
  for (const int64_t rank : tensor.mesh.ranks) {
    slices.emplace_back(rank, ObservedSlice(whole, tensor, parts, rank));
    const at::Tensor& local = of_ranks[static_cast<size_t>(rank)].AsDTensor().local;
    if (slices.back().second.numel() > 0) slices.back().second.copy_(local);
  }
  for (const auto& [rank, slice] : slices) {
    if (slice.numel() == 0 || TensorBytes(slice) == TensorBytes(of_ranks[static_cast<size_t>(rank)].AsDTensor().local))
      continue;
    throw ContractViolation(fmt::format("rank {} holds other values than another rank with the same part", rank));
  }
  return whole;
}

}  // namespace shardcts
