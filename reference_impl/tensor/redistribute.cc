#include "tensor/redistribute.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <set>
#include <span>

#include "tensor/as_real.h"
#include "tensor/exchange.h"
#include "tensor/semantic_error.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

ReduceOp ToReduceOp(const std::string& name) {
  if (name == "sum") return ReduceOp::kSum;
  if (name == "avg") return ReduceOp::kAvg;
  if (name == "min") return ReduceOp::kMin;
  if (name == "max") return ReduceOp::kMax;
  if (name == "product") return ReduceOp::kProduct;
  throw SemanticError("NotImplementedError", "reduction '" + name + "' of partial values");
}

// How `placement` treats one tensor dimension: the placement itself if it splits this dimension.
Placement CutOf(const Placement& placement, int64_t tensor_dim) {
  return placement.IsShard() && placement.dim == tensor_dim ? placement : Placement::Replicate();
}

// A distributed tensor between two lists of placements. At every point this rank holds, in each dimension, an ascending
// set of global indices; gathering over a mesh dimension unites the sets of its ranks. Therefore the order of the steps
// does not matter, strided shards included.
class Redistribution {
 public:
  Redistribution(const DTensor& tensor, const std::vector<Placement>& target)
      : mesh_(*tensor.mesh),
        shape_(tensor.shape),
        source_(tensor.placements),
        target_(target),
        data_(tensor.local.detach().contiguous()),
        gathered_(source_.size(), false) {}

  // *Collective* over the mesh.
  at::Tensor Run() {
    for (int64_t mesh_dim = 0; mesh_dim < mesh_.NumDims(); ++mesh_dim) ReducePartial(mesh_dim);
    const int64_t num_dims = static_cast<int64_t>(shape_.size());
    for (int64_t dim = 0; dim < num_dims; ++dim) {
      if (!IsPlacedAlike(dim)) GatherDim(dim);
    }
    for (int64_t mesh_dim = 0; mesh_dim < mesh_.NumDims(); ++mesh_dim) PartitionPartial(mesh_dim);
    for (int64_t dim = 0; dim < num_dims; ++dim) {
      if (!IsPlacedAlike(dim)) SelectOwned(dim);
    }
    return data_.contiguous();
  }

 private:
  void ReducePartial(int64_t mesh_dim) {
    if (source_[mesh_dim].kind != Placement::Kind::kPartial || source_[mesh_dim] == target_[mesh_dim]) return;
    data_ = data_.clone();
    const ReduceOp op = ToReduceOp(source_[mesh_dim].reduce_op);
    const bool adds = op == ReduceOp::kSum || op == ReduceOp::kAvg;
    mesh_.group(mesh_dim).AllReduce(adds ? AsReal(data_) : data_, op);
  }

  // Converts full values to partial ones, so that their reduction gives the full values again (up to rounding).
  void PartitionPartial(int64_t mesh_dim) {
    if (target_[mesh_dim].kind != Placement::Kind::kPartial || source_[mesh_dim] == target_[mesh_dim]) return;
    if (target_[mesh_dim].reduce_op == "sum") data_ = data_ / mesh_.Size(mesh_dim);
  }

  bool IsPlacedAlike(int64_t dim) const {
    for (size_t mesh_dim = 0; mesh_dim < source_.size(); ++mesh_dim) {
      if (CutOf(source_[mesh_dim], dim) != CutOf(target_[mesh_dim], dim)) return false;
    }
    return true;
  }

  void GatherDim(int64_t dim) {
    for (int64_t mesh_dim = 0; mesh_dim < mesh_.NumDims(); ++mesh_dim) {
      if (source_[mesh_dim].IsShard() && source_[mesh_dim].dim == dim) GatherOver(mesh_dim, dim);
    }
  }

  void GatherOver(int64_t mesh_dim, int64_t dim);
  void SelectOwned(int64_t dim);
  // Which indices of `dim` are held at a coordinate, united over the mesh dimensions already gathered; a flag for each.
  std::vector<bool> Held(std::vector<int64_t> coordinate, int64_t dim) const;
  void MarkHeld(std::vector<int64_t>& coordinate, int64_t mesh_dim, int64_t dim, std::vector<bool>& held) const;

  const DeviceMesh& mesh_;
  const std::vector<int64_t>& shape_;
  const std::vector<Placement>& source_;
  const std::vector<Placement>& target_;
  at::Tensor data_;
  std::vector<bool> gathered_;  // per mesh dimension
};

void Redistribution::MarkHeld(std::vector<int64_t>& coordinate, int64_t mesh_dim, int64_t dim,
                              std::vector<bool>& held) const {
  if (mesh_dim == mesh_.NumDims()) {
    for (const Range& range : OwnedRanges(shape_[dim], dim, mesh_.shape(), coordinate, source_)) {
      std::fill(held.begin() + range.begin, held.begin() + range.end, true);
    }
    return;
  }
  if (!gathered_[mesh_dim]) return MarkHeld(coordinate, mesh_dim + 1, dim, held);
  for (coordinate[mesh_dim] = 0; coordinate[mesh_dim] < mesh_.Size(mesh_dim); ++coordinate[mesh_dim]) {
    MarkHeld(coordinate, mesh_dim + 1, dim, held);
  }
}

std::vector<bool> Redistribution::Held(std::vector<int64_t> coordinate, int64_t dim) const {
  std::vector<bool> held(shape_[dim], false);
  MarkHeld(coordinate, 0, dim, held);
  return held;
}

// For each index marked in `part`, its position among those marked in `whole`.
std::vector<int64_t> PlacesIn(const std::vector<bool>& whole, const std::vector<bool>& part) {
  std::vector<int64_t> places;
  int64_t place = 0;
  for (size_t index = 0; index < whole.size(); ++index) {
    if (part[index]) places.push_back(place);
    if (whole[index]) ++place;
  }
  return places;
}

// *Collective*. The rows of all ranks, equally many, concatenated: received directly at their destination.
at::Tensor GatherRows(Communicator& group, const at::Tensor& rows, const std::vector<int64_t>& shape) {
  const at::Tensor whole = at::empty(shape, rows.options());
  group.AllGatherInto(whole, rows.contiguous());
  return whole;
}

// *Collective*. The part of dimension `dim` of each rank, each index at its position.
at::Tensor GatherPlaces(Communicator& group, const at::Tensor& part, const std::vector<int64_t>& shape, int64_t dim,
                        const std::vector<std::vector<int64_t>>& places_by_rank) {
  std::vector<at::Tensor> parts;
  std::vector<int64_t> part_shape = shape;
  for (const std::vector<int64_t>& places : places_by_rank) {
    part_shape[dim] = static_cast<int64_t>(places.size());
    parts.push_back(at::empty(part_shape, part.options()));
  }
  group.AllGatherV(parts, part.contiguous());
  const at::Tensor whole = at::empty(shape, part.options());
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    whole.index_copy_(dim, at::tensor(places_by_rank[rank], at::kLong).to(part.device()), parts[rank]);
    parts[rank] = at::Tensor();
  }
  return whole;
}

// Whether the full tensor is the concatenation of equal parts in rank order.
bool AreEqualChunks(const std::vector<std::vector<int64_t>>& places_by_rank) {
  int64_t next = 0;
  for (const std::vector<int64_t>& places : places_by_rank) {
    if (places.size() != places_by_rank.front().size()) return false;
    for (int64_t place : places) {
      if (place != next++) return false;
    }
  }
  return true;
}

void Redistribution::GatherOver(int64_t mesh_dim, int64_t dim) {
  std::vector<std::vector<bool>> held;
  std::vector<int64_t> coordinate = mesh_.coordinate();
  for (coordinate[mesh_dim] = 0; coordinate[mesh_dim] < mesh_.Size(mesh_dim); ++coordinate[mesh_dim]) {
    held.push_back(Held(coordinate, dim));
  }
  gathered_[mesh_dim] = true;
  const std::vector<bool> united = Held(mesh_.coordinate(), dim);
  std::vector<std::vector<int64_t>> places_by_rank;
  for (const std::vector<bool>& of_rank : held) places_by_rank.push_back(PlacesIn(united, of_rank));
  std::vector<int64_t> shape = data_.sizes().vec();
  shape[dim] = std::count(united.begin(), united.end(), true);
  data_ = dim == 0 && AreEqualChunks(places_by_rank)
              ? GatherRows(mesh_.group(mesh_dim), data_, shape)
              : GatherPlaces(mesh_.group(mesh_dim), data_, shape, dim, places_by_rank);
}

void Redistribution::SelectOwned(int64_t dim) {
  std::vector<at::Tensor> parts = {data_.narrow(dim, 0, 0)};
  for (const Range& range : OwnedRanges(shape_[dim], dim, mesh_.shape(), mesh_.coordinate(), target_)) {
    parts.push_back(data_.narrow(dim, range.begin, range.size()));
  }
  data_ = parts.size() == 2 ? parts[1] : at::cat(parts, dim);
}

// Whether the parts are rows over the ranks of one group, in their order.
bool IsInRows(const DTensor& tensor) {
  return tensor.placements.size() == 1 && tensor.placements.front() == Placement::Shard(0);
}

// The limit of one exchange, low enough for every backend.
constexpr size_t kAtOnce = 64;

// The indices of the tensors that can be gathered together: large ones, sharded by rows over one mesh.
std::vector<size_t> PlacesOfLargeRows(const std::vector<DTensor>& tensors) {
  std::vector<size_t> places;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const DTensor& tensor = tensors[i];
    if (!IsInRows(tensor) || !tensor.local.is_cpu() || !IsWorthADirectWay(c10::multiply_integers(tensor.shape))) continue;
    if (places.empty() || tensor.mesh == tensors[places.front()].mesh) places.push_back(i);
  }
  return places;
}

// *Collective*. Gathers the tensors at the indices `places`, sharded by rows over one mesh, into `whole` at the same
// indices; or none of them, on all ranks, if the backend has no direct exchange for them.
void GatherAtOnce(const std::vector<DTensor>& tensors, std::span<const size_t> places, std::vector<at::Tensor>& whole) {
  Communicator& group = tensors[places.front()].mesh->group(0);
  if (!group.DirectMemory()) return;
  std::vector<at::Tensor> parts;
  std::vector<at::Tensor> gathered;
  TensorsByRank receives(static_cast<size_t>(group.size()));
  for (const size_t place : places) {
    parts.push_back(tensors[place].local.detach().contiguous());
    gathered.push_back(at::empty(tensors[place].shape, parts.back().options()));
    const TensorsByRank rows = RowsByRank(gathered.back(), group.size());
    for (size_t rank = 0; rank < rows.size(); ++rank) receives[rank].push_back(rows[rank].front());
  }
  if (!group.ExchangeDirectly(TensorsByRank(receives.size(), parts), receives)) return;
  for (size_t i = 0; i < places.size(); ++i) whole[places[i]] = gathered[i];
}

// Sums and averages can be taken in any order, other reductions only where all of them are the same.
void CheckOneReduction(const std::vector<Placement>& placements) {
  std::set<std::string> kinds;
  for (const Placement& placement : placements) {
    if (placement.kind != Placement::Kind::kPartial) continue;
    kinds.insert(placement.reduce_op == "avg" ? "sum" : placement.reduce_op);
  }
  if (kinds.size() > 1) {
    throw SemanticError("ValueError", "partial values of '" + *kinds.begin() + "' and of '" + *std::next(kinds.begin()) +
                                          "' in one tensor: which is reduced first is not said");
  }
}

// Whether the steps that these placements need are supported; called before any rank communicates.
void CheckReductions(const std::vector<Placement>& source, const std::vector<Placement>& target) {
  CheckOneReduction(source);
  CheckOneReduction(target);
  for (size_t mesh_dim = 0; mesh_dim < source.size(); ++mesh_dim) {
    if (source[mesh_dim] == target[mesh_dim]) continue;
    if (source[mesh_dim].kind == Placement::Kind::kPartial) ToReduceOp(source[mesh_dim].reduce_op);
    if (target[mesh_dim].kind != Placement::Kind::kPartial) continue;
    const std::string& op = target[mesh_dim].reduce_op;
    if (op != "sum" && op != "avg" && op != "min" && op != "max") {
      throw SemanticError("ValueError", "whole values cannot be made partial ones of '" + op + "'");
    }
  }
}

}  // namespace

DTensor Redistribute(const DTensor& tensor, const std::vector<Placement>& placements) {
  DTensor result = tensor;
  result.placements = NormalizePlacements(placements, tensor.shape.size(), tensor.mesh->NumDims());
  if (result.placements == tensor.placements) return result;
  CheckReductions(tensor.placements, result.placements);
  c10::NoGradGuard no_grad;
  // Offloaded parts travel over the mesh's device and come back.
  const at::Device home = tensor.local.device();
  DTensor source = tensor;
  if (!home.is_meta()) source.local = tensor.local.to(tensor.mesh->group(0).device());
  result.local = Redistribution(source, result.placements).Run().to(home);
  return result;
}

at::Tensor FullTensor(const DTensor& tensor) {
  return Redistribute(tensor, std::vector<Placement>(tensor.placements.size())).local;
}

std::vector<at::Tensor> FullTensors(const std::vector<DTensor>& tensors) {
  c10::NoGradGuard no_grad;
  std::vector<at::Tensor> whole(tensors.size());
  const std::vector<size_t> places = PlacesOfLargeRows(tensors);
  for (size_t begin = 0; begin < places.size(); begin += kAtOnce) {
    GatherAtOnce(tensors, std::span(places).subspan(begin, std::min(kAtOnce, places.size() - begin)), whole);
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!whole[i].defined()) whole[i] = FullTensor(tensors[i]);
  }
  return whole;
}

at::Tensor FullTensorOnFirst(const DTensor& tensor) {
  if (!IsInRows(tensor)) return FullTensor(tensor);
  c10::NoGradGuard no_grad;
  Communicator& group = tensor.mesh->group(0);
  TensorsByRank sends(static_cast<size_t>(group.size()));
  TensorsByRank receives(sends.size());
  sends[0] = {tensor.local.detach().to(group.device()).contiguous()};
  at::Tensor whole;
  if (group.rank() == 0) {
    whole = at::empty(tensor.shape, sends[0].front().options());
    receives = RowsByRank(whole, group.size());
  }
  ExchangeTensors(group, sends, receives, c10::multiply_integers(tensor.shape));
  return whole.defined() ? whole.to(tensor.local.device()) : whole;
}

DTensor DistributeTensor(const at::Tensor& full, std::shared_ptr<DeviceMesh> mesh,
                         const std::vector<Placement>& placements) {
  const std::vector<Placement> target = NormalizePlacements(placements, full.dim(), mesh->NumDims());
  CheckReductions(std::vector<Placement>(target.size()), target);
  c10::NoGradGuard no_grad;
  at::Tensor values = full.detach();
  if (!values.is_meta()) values = values.to(mesh->group(0).device());
  // The original must not change on ranks that receive other values.
  values = values.clone(at::MemoryFormat::Contiguous);
  for (int64_t mesh_dim = 0; mesh_dim < mesh->NumDims() && !values.is_meta(); ++mesh_dim) {
    mesh->group(mesh_dim).Broadcast(values, 0);
  }
  const std::vector<Placement> replicated(target.size());
  DTensor result{values, std::move(mesh), replicated, full.sizes().vec(), full.strides().vec()};
  result = Redistribute(result, target);
  // A shard must not keep the storage of the full tensor alive.
  if (result.local.storage().nbytes() != result.local.nbytes()) result.local = result.local.clone();
  result.local.set_requires_grad(full.requires_grad());
  return result;
}

}  // namespace shardcts::reference
