// The arguments of FullyShardedDataParallel. Semantics: torch/distributed/fsdp/api.py, torch 2.13.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "models/module.h"
#include "tensor/device_mesh.h"

namespace shardcts::reference {

enum class ShardingStrategy {
  kFullShard,         // sharded; gathered for forward and again for backward
  kShardGradOp,       // sharded; gathered for forward, kept until backward has ended
  kNoShard,           // the full parameters on every rank; gradients are all-reduced
  kHybridShard,       // kFullShard within a group, replicated across groups
  kHybridShardZero2,  // kShardGradOp within a group, replicated across groups
};
std::string NameOf(ShardingStrategy strategy);  // "FULL_SHARD", …, "_HYBRID_SHARD_ZERO2"
std::optional<ShardingStrategy> ParseShardingStrategy(const std::string& text);

// Shards, and therefore state dicts, always keep the original dtype.
struct FsdpMixedPrecision {
  std::optional<at::ScalarType> param_dtype;   // of unsharded parameters in forward and backward
  std::optional<at::ScalarType> reduce_dtype;  // of gradient reduction; nullopt: param_dtype, else the original one
  std::optional<at::ScalarType> buffer_dtype;  // floating-point buffers are cast to it once, at the first use
  bool keep_low_precision_grads = false;       // sharded gradients stay in reduce_dtype
  bool cast_forward_inputs = false;            // every unit casts its input to param_dtype
  bool cast_root_forward_inputs = true;        // the root does
};

// Chooses modules below the wrapped one that become units of their own; semantics: torch/distributed/fsdp/wrap.py.
struct AutoWrapPolicy {
  enum class Kind {
    kModuleClasses,  // every module of one of these classes (ModuleWrapPolicy)
    kAlways,         // every module (always_wrap_policy)
    kSizeBased,      // where at least min_num_params elements are left (size_based_auto_wrap_policy)
    kLambda,         // the modules at these paths
  };
  Kind kind = Kind::kModuleClasses;
  std::vector<std::string> names;  // classes or paths
  int64_t min_num_params = 100'000'000;
};

struct FsdpOptions {
  // The ranks that the parameters are sharded over and, with a hybrid strategy, those that each shard is replicated
  // over.
  std::shared_ptr<Communicator> shard_group;
  std::shared_ptr<Communicator> replicate_group;  // nullptr: none
  std::shared_ptr<DeviceMesh> mesh;  // the mesh of the groups, if any: then sharded values are DTensors
  at::Device device = at::kCPU;      // for compute and communication
  ShardingStrategy strategy = ShardingStrategy::kFullShard;
  bool offload_params = false;  // shards and their gradients live on the CPU
  bool use_orig_params = false;
  FsdpMixedPrecision mixed_precision;
  std::vector<models::Module*> ignored_modules;
  std::vector<models::ParameterPtr> ignored_parameters;
  std::optional<AutoWrapPolicy> auto_wrap_policy;
  bool sync_module_states = false;  // parameters and buffers become those of the group's first rank
  bool move_to_device = false;      // parameters and buffers move to `device` (PyTorch: a device_id was given)
};

}  // namespace shardcts::reference
