// What a caller of fully_shard can choose. Semantics: torch.distributed.fsdp.fully_shard, torch 2.13.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>

#include "models/module.h"
#include "tensor/device_mesh.h"

namespace shardcts::reference {

// Sharded parameters and their gradients live on the CPU; parameters are copied to the mesh's device before each
// all-gather.
struct CpuOffloadPolicy {
  bool pin_memory = true;  // has an effect only with an accelerator
};

// Sharded parameters, and therefore state dicts, always keep the original dtype.
struct MixedPrecisionPolicy {
  std::optional<at::ScalarType> param_dtype;   // of the unsharded parameters, in forward and backward
  std::optional<at::ScalarType> reduce_dtype;  // of the gradient reduction; default: the gradient's own
  std::optional<at::ScalarType> output_dtype;  // of the module's output
  bool cast_forward_inputs = true;             // inputs to param_dtype
};

struct FullyShardOptions {
  // 1-D: shard over it. 2-D with names: dimension 0 replicates, dimension 1 shards.
  std::shared_ptr<DeviceMesh> mesh;
  // nullopt: true, except for the root, which is known at the first forward.
  std::optional<bool> reshard_after_forward;
  // The tensor dimension to shard a parameter on; nullopt or no function: 0. A dimension other than 0 must divide
  // evenly.
  std::function<std::optional<int64_t>(const models::Parameter&)> shard_placement;
  std::optional<CpuOffloadPolicy> offload;
  MixedPrecisionPolicy mixed_precision;
};

// The first of the dimensions with the largest (global) size.
std::optional<int64_t> LargestDim(const models::Parameter& parameter);

}  // namespace shardcts::reference
