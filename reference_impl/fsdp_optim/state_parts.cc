#include "fsdp_optim/state_parts.h"

#include <ATen/ATen.h>

#include "fsdp/range_exchange.h"
#include "tensor/copy_values.h"
#include "tensor/exchange.h"

namespace shardcts::reference {
namespace {

at::Tensor PartOf(const at::Tensor& whole, const Member& member, int64_t rank) {
  const FlatSlice slice = member.unit.flat().layout().SliceOf(member.index, rank);
  return whole.detach().reshape({-1}).narrow(0, slice.begin_in_parameter, slice.numel);
}

}  // namespace

FlatRange Member::Kept(int64_t rank) const {
  const FlattenLayout& layout = unit.flat().layout();
  const FlatSlice slice = layout.SliceOf(index, rank);
  return {layout.parameters[index].begin + slice.begin_in_parameter, slice.numel};
}

void CopyPart(const at::Tensor& whole, const Member& member, const at::Tensor& place) {
  CopyValues(place, PartOf(whole, member, member.unit.flat().rank()));
}

void ExchangeParts(const at::Tensor& chunk, const Member& member, const at::Tensor& place) {
  Communicator& group = member.unit.group();
  RangesByRank have;
  RangesByRank want;
  for (int64_t rank = 0; rank < group.size(); ++rank) {
    have.push_back({member.Rows(rank)});
    want.push_back({member.Kept(rank)});
  }
  const at::Tensor from = chunk.detach().reshape({-1}).to(place.device());
  ExchangeRanges(group, have, want, {&from, 1}, {&place, 1});
}

void ScatterParts(const at::Tensor& whole, const Member& member, const std::vector<int64_t>& shard_ranks,
                  Communicator& group, const at::Tensor& place) {
  TensorsByRank sends(static_cast<size_t>(group.size()));
  TensorsByRank receives(sends.size());
  receives[0] = {place};
  if (group.rank() == 0) {
    const at::Tensor on_device = whole.to(place.device()).contiguous();
    for (size_t rank = 0; rank < sends.size(); ++rank) sends[rank] = {PartOf(on_device, member, shard_ranks[rank])};
  }
  ExchangeTensors(group, sends, receives, whole.numel());
}

}  // namespace shardcts::reference
