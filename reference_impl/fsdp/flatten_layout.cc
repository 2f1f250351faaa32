#include "fsdp/flatten_layout.h"

#include <algorithm>

namespace shardcts::reference {
namespace {

void PadToMultipleOf(int64_t divisor, FlattenLayout& layout) {
  const int64_t rest = layout.numel % divisor;
  if (rest == 0) return;
  layout.padding.push_back({layout.numel, divisor - rest});
  layout.numel += divisor - rest;
}

}  // namespace

int64_t FlattenLayout::ShardNumel() const { return (numel + ranks - 1) / ranks; }

FlatRange FlattenLayout::Owned(int64_t rank) const {
  const int64_t begin = std::min(rank * ShardNumel(), numel);
  return {begin, std::min(begin + ShardNumel(), numel) - begin};
}

FlatSlice FlattenLayout::SliceOf(size_t parameter, int64_t rank) const {
  const FlatRange& whole = parameters.at(parameter);
  const FlatRange owned = Owned(rank);
  const int64_t begin = std::max(whole.begin, owned.begin);
  const int64_t end = std::min(whole.end(), owned.end());
  if (begin >= end) return {};
  return {begin - whole.begin, begin - owned.begin, end - begin};
}

FlattenLayout LayOut(const std::vector<int64_t>& numels, int64_t aligned_numel, int64_t ranks, int64_t group_size) {
  FlattenLayout layout;
  layout.ranks = ranks;
  for (int64_t numel : numels) {
    if (aligned_numel > 0) PadToMultipleOf(aligned_numel, layout);
    layout.parameters.push_back({layout.numel, numel});
    layout.numel += numel;
  }
  if (aligned_numel > 0) PadToMultipleOf(group_size, layout);
  return layout;
}

}  // namespace shardcts::reference
