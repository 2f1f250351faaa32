#include "tensor/sharded_tensor.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <map>


namespace shardcts::reference {
namespace {

// Where the shard of `rank` is, as metadata names it; this rank's is on `local`. Devices are counted by host, as in
// torch/distributed/fsdp/_shard_utils.py (_get_remote_device_str).
std::string DeviceOfRank(int64_t rank, at::Device local) {
  if (local.is_cpu() || local.is_meta()) return local.str();
  const int64_t devices = c10::impl::getDeviceGuardImpl(local.type())->deviceCount();
  return at::Device(local.type(), static_cast<c10::DeviceIndex>(rank % devices)).str();
}

// Each rank's shards, as it packs them and as all unpack them.
std::vector<ShardMetadata> InCommonOrder(std::vector<ShardMetadata> shards) {
  std::ranges::sort(shards, {}, &ShardMetadata::offsets);
  return shards;
}

void Pack(std::vector<LocalShard> shards, const at::Tensor& into) {
  std::ranges::sort(shards, {}, [](const LocalShard& shard) { return shard.metadata.offsets; });
  int64_t place = 0;
  for (const LocalShard& shard : shards) {
    const int64_t numel = shard.tensor.numel();
    into.narrow(0, place, numel).copy_(shard.tensor.detach().reshape({-1}));
    place += numel;
  }
}

// Whether the shards, one after the other, are the tensor: equal numbers of rows on the ranks in order, fewer on the last.
bool AreEqualRows(const std::vector<int64_t>& shape, const std::vector<ShardMetadata>& shards,
                  const std::vector<int64_t>& ranks) {
  int64_t begin = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const ShardMetadata& shard = shards[i];
    std::vector<int64_t> rows = shape;
    rows.front() = std::min(shards.front().sizes.front(), shape.front() - begin);
    if (i >= ranks.size() || shard.rank != ranks[i] || shard.sizes != rows || shard.offsets.front() != begin) return false;
    begin += rows.front();
  }
  return !shape.empty() && begin == shape.front();
}

at::Tensor PartOf(at::Tensor whole, const ShardMetadata& shard) {
  for (size_t dim = 0; dim < shard.sizes.size(); ++dim) {
    whole = whole.narrow(static_cast<int64_t>(dim), shard.offsets[dim], shard.sizes[dim]);
  }
  return whole;
}

}  // namespace

ShardedTensor MakeShardedTensor(const std::vector<int64_t>& shape, int64_t rows, const at::Tensor& local,
                                const Communicator& group) {
  ShardedTensor made;
  made.shape = shape;
  made.dtype = local.scalar_type();
  made.ranks = group.global_ranks();
  for (int rank = 0; rank < group.size() && rank * rows < shape.front(); ++rank) {
    ShardMetadata metadata;
    metadata.offsets.assign(shape.size(), 0);
    metadata.offsets[0] = rank * rows;
    metadata.sizes = shape;
    metadata.sizes[0] = std::min(rows, shape.front() - rank * rows);
    metadata.rank = made.ranks[rank];
    metadata.device = DeviceOfRank(metadata.rank, local.device());
    if (rank == group.rank()) made.local_shards.push_back({metadata, local});
    made.metadata.push_back(std::move(metadata));
  }
  return made;
}

ShardedTensor WithLocalTensors(const ShardedTensor& tensor,
                               const std::function<at::Tensor(const at::Tensor&)>& change) {
  ShardedTensor changed = tensor;
  if (changed.metadata.empty()) return changed;
  // A rank without a shard says the same of the others' as they do.
  at::Device device = change(at::empty({0}, at::device(at::Device(changed.metadata.front().device)))).device();
  for (LocalShard& shard : changed.local_shards) {
    shard.tensor = change(shard.tensor);
    device = shard.tensor.device();
    shard.metadata.device = DeviceOfRank(shard.metadata.rank, device);
  }
  for (ShardMetadata& metadata : changed.metadata) metadata.device = DeviceOfRank(metadata.rank, device);
  return changed;
}

at::Tensor GatherShardedTensor(const ShardedTensor& tensor, Communicator& group) {
  at::NoGradGuard no_grad;
  const std::vector<int64_t> ranks = group.global_ranks();
  const std::vector<ShardMetadata> shards = InCommonOrder(tensor.metadata);
  std::map<int64_t, int64_t> held;  // elements by global rank
  for (const ShardMetadata& shard : shards) held[shard.rank] += c10::multiply_integers(shard.sizes);
  int64_t most = 0;
  for (const auto& [rank, numel] : held) most = std::max(most, numel);
  const auto options = at::TensorOptions().dtype(tensor.dtype).device(group.device());
  const at::Device home =
      tensor.local_shards.empty() ? group.device() : tensor.local_shards.front().tensor.device();
  const at::Tensor mine = at::zeros({most}, options);
  Pack(tensor.local_shards, mine);
  at::Tensor all = at::empty({most * group.size()}, options);
  if (most > 0) group.AllGatherInto(all, mine);
  if (AreEqualRows(tensor.shape, shards, ranks)) {
    return all.narrow(0, 0, c10::multiply_integers(tensor.shape)).view(tensor.shape).to(home);
  }
  at::Tensor whole = at::zeros(tensor.shape, options);
  for (size_t i = 0; i < ranks.size(); ++i) {
    int64_t place = static_cast<int64_t>(i) * most;
    for (const ShardMetadata& shard : shards) {
      if (shard.rank != ranks[i]) continue;
      const int64_t numel = c10::multiply_integers(shard.sizes);
      PartOf(whole, shard).copy_(all.narrow(0, place, numel).view(shard.sizes));
      place += numel;
    }
  }
  return whole.to(home);
}

}  // namespace shardcts::reference
