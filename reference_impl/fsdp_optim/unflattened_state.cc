#include "fsdp_optim/unflattened_state.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "fsdp_optim/chunked_state.h"
#include "tensor/exchange.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

// For a unit that is not sharded.
Value ChunkOf(const at::Tensor& whole, const UnitMembers& unit) {
  const Communicator& group = unit.group();
  const Range rows = Chunk(whole.size(0), group.size(), group.rank());
  return ChunkedValue(whole.narrow(0, rows.begin, rows.size()).clone(), whole.sizes().vec(), unit);
}

}  // namespace

Keepers::Keepers(const Communicator& group, bool rank0_only)
    : rank0_only_(rank0_only),
      first_rank_(group.global_ranks().front()),
      includes_me_(!rank0_only || group.rank() == 0) {}

at::Tensor Keepers::Gather(const UnitMembers& unit, const at::Tensor& shard) const {
  Communicator& group = unit.group();
  if (!rank0_only_) {
    at::Tensor whole = at::empty({group.size() * shard.numel()}, shard.options());
    group.AllGatherInto(whole, shard);
    return whole;
  }
  const auto first = std::ranges::find(group.global_ranks(), first_rank_);
  if (first == group.global_ranks().end()) return {};  // replicas, none of which keeps anything
  return GatherTo(group, shard, static_cast<int>(first - group.global_ranks().begin()));
}

Value InWantedForm(const at::Tensor& whole, bool is_own, const UnitMembers& unit, const SaveOptimOptions& options) {
  if (options.shard_state && whole.dim() > 0) {
    return ChunkOf(options.offload_to_cpu ? whole.cpu() : whole, unit);
  }
  if (!options.offload_to_cpu) return whole;
  return is_own ? whole.cpu() : whole.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace shardcts::reference
