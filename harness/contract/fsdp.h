// The façade of FSDP1: FullyShardedDataParallel, its scopes and state-dict types, and the wrappers that go with it.
//
// As in facade.h, every function is one operation of the table (docs/contract.md), which gives its semantics and says
// whether it is *Collective*. It throws OperationFailed when the implementation returns an error.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/facade.h"

namespace shardcts {

class ProcessGroup {
 public:
  explicit ProcessGroup(Value handle) : handle_(std::move(handle)) {}
  const Value& handle() const { return handle_; }

 private:
  Value handle_;  // with its origin, so that a recording refers to the step that made it
};

ProcessGroup NewGroup(Caller& caller, const std::vector<int64_t>& ranks, bool per_device_backends = false);

struct FsdpMixedPrecision {
  std::string param_dtype;  // empty: keep
  std::string reduce_dtype;
  std::string buffer_dtype;
  std::optional<bool> cast_forward_inputs, cast_root_forward_inputs, keep_low_precision_grads;
};

struct AutoWrapPolicy {
  static AutoWrapPolicy Classes(std::vector<std::string> classes);
  static AutoWrapPolicy Always();
  static AutoWrapPolicy SizeBased(int64_t min_num_params);
  static AutoWrapPolicy Names(std::vector<std::string> names);
  Dict value;  // as in docs/contract.md
};

// Absent fields take the implementation's default. FQNs are those of the model without any wrapper.
struct FsdpOptions {
  std::optional<ProcessGroup> process_group;
  std::optional<Mesh> device_mesh;
  std::string sharding_strategy;  // "" or "FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD"
  std::optional<bool> cpu_offload;
  std::optional<bool> use_orig_params;
  std::vector<std::string> ignored_modules;
  std::vector<std::string> ignored_states;
  std::optional<FsdpMixedPrecision> mixed_precision;
  std::optional<AutoWrapPolicy> auto_wrap_policy;
  std::optional<bool> sync_module_states;
  std::optional<bool> device_id;
  std::vector<std::string> skip_modules;
};

void WrapFsdp(Model& model, const std::string& path, const FsdpOptions& options = {});
// innermost: directly around the module, inside the wrappers that it already has.
void WrapCheckpoint(Model& model, const std::string& path, bool innermost = false);
void WrapDdp(Model& model, const std::string& path = {});

struct SummonOptions {
  bool recurse = true;
  bool writeback = true;
  bool rank0_only = false;
  bool offload_to_cpu = false;
  bool with_grads = false;
};

// Runs `body` while the parameters are full. A C++ exception of the body ends the scope, with `raised`, and is
// rethrown.
void WithFullParams(Model& model, const std::function<void()>& body, const SummonOptions& options = {});

enum class StateDictKind { kFull, kLocal, kSharded };
std::string_view ToString(StateDictKind kind);  // "FULL", …

struct OptimStateDictConfig {
  bool offload_to_cpu = true;
  bool rank0_only = false;  // FULL only
};

struct StateDictConfig {
  std::string config_class;  // empty: the one of the kind
  bool offload_to_cpu = false;
  bool rank0_only = false;                // FULL only
  std::optional<bool> use_dtensor;        // SHARDED only
  std::optional<OptimStateDictConfig> optim;  // of the kind's class; absent: its default
};

// Runs `body` with this state-dict type. A C++ exception of the body ends the scope, with `raised`, and is rethrown.
void WithStateDictType(Model& model, StateDictKind kind, const StateDictConfig& config,
                       const std::function<void()>& body);
void WithStateDictType(Model& model, StateDictKind kind, const std::function<void()>& body);
// The previous settings.
Dict SetStateDictType(Model& model, StateDictKind kind, const StateDictConfig& config = {});
Dict GetStateDictType(const Model& model);

List FsdpUnits(const Model& model);  // of dicts
List Modules(const Model& model);    // of dicts

// The entries, with every ShardedTensor replaced by the full tensor. Of plain tensors alone: themselves, no operation.
Dict GatherStateDict(Caller& caller, const Dict& state_dict);
// `group`: its members call, nobody else.
Value GatherSharded(Caller& caller, const Value& sharded, const std::optional<ProcessGroup>& group = {});

Bytes Serialize(Caller& caller, const Dict& state_dict);
Dict Deserialize(Caller& caller, const Bytes& data);

}  // namespace shardcts
