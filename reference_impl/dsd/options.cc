#include "dsd/options.h"

#include "agreement/rank_agreement.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

Dict ToDict(const StateDictOptions& options) {
  Dict by_name;
  for (const auto& [name, field] : OptionsByName()) by_name.Set(name, options.*field);
  return by_name;
}

std::string OnRank(const Value& option, size_t rank) {
  return (option.AsBool() ? "true on rank " : "false on rank ") + std::to_string(rank);
}

// Empty: the options of all ranks equal those of the first.
std::string DifferenceOf(const std::vector<Value>& by_rank) {
  for (size_t rank = 1; rank < by_rank.size(); ++rank) {
    for (const auto& [name, option] : by_rank.front().AsDict()) {
      const Value& other = by_rank[rank].AsDict().At(name);
      if (other.AsBool() != option.AsBool())
        return ToString(name) + " is " + OnRank(option, 0) + ", " + OnRank(other, rank);
    }
  }
  return "";
}

}  // namespace

const std::map<std::string, bool StateDictOptions::*>& OptionsByName() {
  static const std::map<std::string, bool StateDictOptions::*> by_name{
      {"full_state_dict", &StateDictOptions::full_state_dict},
      {"cpu_offload", &StateDictOptions::cpu_offload},
      {"ignore_frozen_params", &StateDictOptions::ignore_frozen_params},
      {"keep_submodule_prefixes", &StateDictOptions::keep_submodule_prefixes},
      {"strict", &StateDictOptions::strict},
      {"broadcast_from_rank0", &StateDictOptions::broadcast_from_rank0},
      {"flatten_optimizer_state_dict", &StateDictOptions::flatten_optimizer_state_dict}};
  return by_name;
}

StateDictOptions AgreedOptions(const std::function<StateDictOptions()>& read, const StateDictContext& context) {
  RankAgreement agreement;
  StateDictOptions options;
  agreement.Try([&] {
    options = read();
    CheckOptions(options, context);
  });
  std::vector<Value> by_rank;
  if (context.world) by_rank = agreement.Exchange(*context.world, ToDict(options));
  agreement.ThrowIfRefused();
  const std::string difference = DifferenceOf(by_rank);
  if (difference.empty()) return options;
  throw SemanticError("RuntimeError", "The ranks have different StateDictOptions: " + difference + ".");
}

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
