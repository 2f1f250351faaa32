#include "dsd/options.h"

#include "tensor/semantic_error.h"

namespace shardcts::reference {

void CheckOptions(const StateDictOptions& options, const StateDictContext& context) {
  if (!options.broadcast_from_rank0) return;
  if (!options.full_state_dict) {
    throw SemanticError("ValueError", "full_state_dict must be True when broadcast_from_rank0 is True.");
  }
  if (!context.world) throw SemanticError("ValueError", "Default process group has not been initialized");
}

StateDictSettings UnitSettings(const StateDictOptions& options) {
  const bool offload = options.cpu_offload;
  if (!options.full_state_dict) {
    return MakeStateDictSettings(StateDictType::kSharded, StateDictConfig{"ShardedStateDictConfig", offload},
                                 StateDictConfig{"ShardedOptimStateDictConfig", offload});
  }
  return MakeStateDictSettings(
      StateDictType::kFull, StateDictConfig{"FullStateDictConfig", offload, /*rank0_only=*/offload},
      StateDictConfig{"FullOptimStateDictConfig", offload, /*rank0_only=*/offload || options.broadcast_from_rank0});
}

bool KeepsResult(const StateDictOptions& options, const StateDictContext& context) {
  return !options.full_state_dict || !options.cpu_offload || !context.world || context.world->rank() == 0;
}

void CheckModelState(const Dict& state_dict, const StateDictOptions& options, bool has_submodules) {
  if (!state_dict.empty() || has_submodules || options.ignore_frozen_params || !options.strict) return;
  if (options.broadcast_from_rank0 || (options.cpu_offload && options.full_state_dict)) return;
  throw SemanticError("RuntimeError",
                      "The option indicates that model state_dict is required to save or load, but model state_dict "
                      "is empty.");
}

void CheckOptimizerState(const Dict& state_dict, const StateDictOptions& options) {
  if (!state_dict.empty() || options.broadcast_from_rank0 || (options.cpu_offload && options.full_state_dict)) return;
  throw SemanticError("RuntimeError",
                      "The option indicates that optimizer state_dict is required to save or load, but optim "
                      "state_dict is empty.");
}

void WarnUser(const StateDictContext& context, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) context.warnings.push_back({"UserWarning", text});
}

}  // namespace shardcts::reference
