#include "dsd/part_from_rank0.h"

#include <ATen/ATen.h>

#include "tensor/exchange.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

bool IsPlaceFor(const at::Tensor& place, const std::vector<int64_t>& shape, at::TensorOptions options) {
  return place.defined() && place.device() == options.device() && place.dtype() == options.dtype() &&
         place.is_contiguous() && place.sizes() == at::IntArrayRef(shape);
}

}  // namespace

bool AreRowsOfWorld(const DTensorDistribution& layout, const Communicator& world) {
  if (layout.mesh->NumDims() != 1 || layout.placements.front() != Placement::Shard(0)) return false;
  return layout.mesh->group(0).global_ranks() == world.global_ranks();
}

at::Tensor RowsFromRank0(const at::Tensor& whole, at::ScalarType dtype, const DTensorDistribution& layout,
                         Communicator& world, const at::Tensor& place) {
  std::vector<int64_t> shape = layout.shape;
  shape.front() = Chunk(shape.front(), world.size(), world.rank()).size();
  const at::TensorOptions options = at::device(world.device()).dtype(dtype);
  const at::Tensor mine = IsPlaceFor(place, shape, options) ? place : at::empty(shape, options);
  TensorsByRank sends(static_cast<size_t>(world.size()));
  TensorsByRank receives(sends.size());
  receives[0] = {mine};
  if (world.rank() == 0) sends = RowsByRank(whole.detach().to(world.device()).contiguous(), world.size());
  ExchangeTensors(world, sends, receives, c10::multiply_integers(layout.shape));
  return mine;
}

}  // namespace shardcts::reference
