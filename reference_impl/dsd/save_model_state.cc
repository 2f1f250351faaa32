#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "dsd/model_state.h"
#include "dsd/parameter_names.h"
#include "dsd/whole_values.h"
#include "fsdp/fsdp_module.h"
#include "state_dict/state_dict_values.h"

namespace shardcts::reference {
namespace {

Dict OfSubmodules(const Dict& saved, const std::vector<std::string>& submodules, bool keep_prefixes) {
  Dict selected;
  for (const auto& [key, value] : saved) {
    const std::string name = ToString(key);
    for (const std::string& path : submodules) {
      if (!name.starts_with(path + ".")) continue;
      selected.Set(keep_prefixes ? name : name.substr(path.size() + 1), value);
    }
  }
  return selected;
}

List LiveTensors(models::Module& model) {
  List live;
  for (const auto& [name, parameter] : models::NamedParameters(model)) {
    if (parameter->value.defined()) live.push_back(parameter->value);
  }
  for (const auto& [name, buffer] : models::NamedBuffers(model)) live.push_back(buffer);
  return live;
}

// In a model with units: names of frozen parameters that ParameterNames leaves out, as it lists a tied one once.
void EraseFrozenAliases(models::Module& model, Dict& saved) {
  if (FsdpUnits(model).empty()) return;  // ParameterNames has all names
  for (const auto& [name, parameter] : models::NamedParameters(model, /*remove_duplicate=*/false)) {
    if (!parameter->value.requires_grad()) saved.Erase(name);
  }
  for (const auto& [path, module] : models::NamedModules(model)) {
    const auto* unit = dynamic_cast<const FsdpModule*>(module);
    if (!unit || !unit->flat()) continue;
    for (const FlatParameter::Slot& slot : unit->flat()->shared_slots()) {
      if (!unit->flat()->requires_grad(slot.parameter)) saved.Erase(models::JoinName(path, slot.fqn));
    }
  }
}

void WarnOfSubmodules(const StateDictContext& context) {
  context.warnings.push_back({"FutureWarning",
                              "Getting submodules only model/optim state_dict is deprecated and will be removed in "
                              "2.5: filter the names of a whole state dict."});
}

// Whether rank 0 of all is in this rank's groups, but not their first, which is the one that has whole values.
bool HidesRank0(models::Module& model, const StateDictContext& context) {
  if (!context.world) return false;
  const int64_t rank0 = context.world->global_ranks().front();
  return std::ranges::any_of(FsdpUnits(model), [&](const FsdpModule* unit) {
    const std::shared_ptr<Communicator>& group = unit->options().shard_group;
    return group && group->global_ranks().front() != rank0 && std::ranges::count(group->global_ranks(), rank0) > 0;
  });
}

}  // namespace

Dict GetModelStateDict(models::Module& model, const std::vector<std::string>& submodules,
                       const StateDictOptions& options, const StateDictContext& context) {
  at::NoGradGuard no_grad;
  if (!submodules.empty()) WarnOfSubmodules(context);
  CheckOptions(options, context);
  std::vector<std::string> user_warnings;
  StateDictSettings settings = UnitSettings(options);
  if (HidesRank0(model, context)) settings.config.rank0_only = false;
  StateDictTypeScope scope(model, settings);
  Dict saved = StateDictValue(SaveStateDict(model, {}, &user_warnings));
  scope.End();
  WarnUser(context, user_warnings);
  if (options.ignore_frozen_params) {
    for (const std::string& name : ParameterNames(model).Frozen()) saved.Erase(name);
    EraseFrozenAliases(model, saved);
  }
  if (!submodules.empty()) saved = OfSubmodules(saved, submodules, options.keep_submodule_prefixes);
  Dict formed = InFormOf(options, std::move(saved), context, LiveTensors(model));
  CheckModelState(formed, options, !submodules.empty());
  return formed;
}

}  // namespace shardcts::reference
