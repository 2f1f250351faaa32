#include "fsdp_optim/unflattened_state.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "fsdp_optim/incoming_state.h"
#include "tensor/dtensor.h"
#include "tensor/sharded_tensor.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

// Cut along dimension 0 over the shard group, which is the last dimension of a mesh.
Value ChunkOf(const at::Tensor& whole, const UnitMembers& unit) {
  const Communicator& group = unit.group();
  const Range rows = Chunk(whole.size(0), group.size(), group.rank());
  const at::Tensor local = whole.narrow(0, rows.begin, rows.size()).clone();
  const std::shared_ptr<DeviceMesh>& mesh = unit.unit->options().mesh;
  if (!mesh) return MakeShardedTensor(whole.sizes().vec(), ChunkSize(whole.size(0), group.size()), local, group);
  return ToContract(MakeDTensor(local, mesh, ChunkPlacements(*mesh), whole.sizes().vec()), /*is_parameter=*/false);
}

}  // namespace

Keepers::Keepers(const Communicator& group, bool rank0_only)
    : rank0_only_(rank0_only),
      first_rank_(group.global_ranks().front()),
      includes_me_(!rank0_only || group.rank() == 0) {}

at::Tensor Keepers::Gather(const UnitMembers& unit, const at::Tensor& shard) const {
  Communicator& group = unit.group();
  const auto whole_like = [&] { return at::empty({shard.numel() * group.size()}, shard.options()); };
  if (!rank0_only_) {
    at::Tensor whole = whole_like();
    group.AllGatherInto(whole, shard);
    return whole;
  }
  const auto root = std::ranges::find(group.global_ranks(), first_rank_);
  if (root == group.global_ranks().end()) return {};  // replicas, of whom nobody keeps anything
  const int root_in_group = static_cast<int>(root - group.global_ranks().begin());
  if (group.rank() != root_in_group) {
    group.Gather({}, shard, root_in_group);
    return {};
  }
  at::Tensor whole = whole_like();
  std::vector<at::Tensor> shards = whole.split(shard.numel());
  group.Gather(shards, shard, root_in_group);
  return whole;
}

Value InWantedForm(const at::Tensor& whole, bool is_own, const UnitMembers& unit, const SaveOptimOptions& options) {
  if (options.shard_state && whole.dim() > 0) {
    return ChunkOf(options.offload_to_cpu ? whole.cpu() : whole, unit);
  }
  if (!options.offload_to_cpu) return whole;
  return is_own ? whole.cpu() : whole.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace shardcts::reference
