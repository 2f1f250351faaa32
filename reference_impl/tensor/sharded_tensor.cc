#include "tensor/sharded_tensor.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>

#include "tensor/semantic_error.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

// Where the shard of `rank` is, as metadata names it; this rank's is on `local`. Devices are counted by host, as in
// torch/distributed/fsdp/_shard_utils.py (_get_remote_device_str).
std::string DeviceOfRank(int64_t rank, at::Device local) {
  if (local.is_cpu() || local.is_meta()) return local.str();
  const int64_t devices = c10::impl::getDeviceGuardImpl(local.type())->deviceCount();
  return at::Device(local.type(), static_cast<c10::DeviceIndex>(rank % devices)).str();
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
  const int64_t rows = tensor.shape.empty() ? 0 : tensor.shape.front();
  const int64_t numel = c10::multiply_integers(tensor.shape);
  const int64_t chunk = rows == 0 ? 0 : ChunkSize(rows, group.size()) * (numel / rows);
  at::Tensor mine = at::zeros({chunk}, at::TensorOptions().dtype(tensor.dtype).device(group.device()));
  at::Device home = group.device();
  if (!tensor.local_shards.empty()) {
    const at::Tensor local = tensor.local_shards.front().tensor.detach();
    home = local.device();
    if (local.numel() > chunk) {
      throw SemanticError("RuntimeError", "a local shard of " + std::to_string(local.numel()) +
                                              " elements does not fit into chunks of " + std::to_string(chunk));
    }
    mine.narrow(0, 0, local.numel()).copy_(local.reshape({-1}));
  }
  at::Tensor whole = at::empty({chunk * group.size()}, mine.options());
  if (chunk > 0) group.AllGatherInto(whole, mine);
  return whole.narrow(0, 0, numel).view(tensor.shape).to(home);
}

}  // namespace shardcts::reference
