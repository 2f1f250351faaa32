#include <ATen/core/grad_mode.h>

#include <map>

#include "agreement/rank_agreement.h"
#include "dsd/flattened_state.h"
#include "dsd/optimizer_state.h"
#include "dsd/placed_beside_units.h"
#include "dsd/placed_state.h"
#include "dsd/whole_values.h"
#include "fsdp_optim/save_optim_state.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// The first name of each parameter object of a model.
std::map<const models::Parameter*, std::string> FirstNames(models::Module& model) {
  std::map<const models::Parameter*, std::string> names;
  for (const auto& [name, parameter] : models::NamedParameters(model)) names.emplace(parameter.get(), name);
  return names;
}

// KeyError: state that belongs to no parameter, which a state dict by names has no place for.
void RefuseStateOfNone(const Dict& state, int64_t parameters) {
  for (const auto& [key, value] : state) {
    const auto* id = std::get_if<int64_t>(&key);
    if (!id || *id < 0 || *id >= parameters) {
      throw SemanticError("KeyError", "'" + ToString(key) + "' is state that belongs to no parameter");
    }
  }
}

// The state dict of an optimizer over parameters that no unit manages.
// With StateAtRest where a trainable parameter has none.
Dict SaveByNames(models::Module& model, const Optimizer& optimizer) {
  const Dict complete = optimizer.CompleteState();
  int64_t id = 0;
  const auto names = FirstNames(model);
  const auto name_of = [&](const models::Parameter& parameter) {
    const auto found = names.find(&parameter);
    if (found != names.end()) return found->second;
    throw SemanticError("KeyError", "an optimizer has a parameter that is none of the model's");
  };
  Dict state;
  List groups;
  for (const OptimizerGroup& group : optimizer.groups()) {
    List params;
    for (const models::ParameterPtr& parameter : group.parameters) {
      params.push_back(name_of(*parameter));
      const Value* of_parameter = complete.Find(id++);
      if (!of_parameter) continue;
      state.Set(name_of(*parameter),
                PlacedState(*parameter, of_parameter->AsDict(), optimizer.LargestExampleState(*parameter)));
    }
    Dict saved = group.options;
    saved.Set("params", std::move(params));
    groups.push_back(std::move(saved));
  }
  RefuseStateOfNone(complete, id);
  return Dict{{"state", std::move(state)}, {"param_groups", std::move(groups)}};
}

void Merge(const Dict& saved, Dict& state, List& groups) {
  if (saved.empty()) return;
  for (const auto& [name, value] : saved.At("state").AsDict()) state.Set(name, value);
  const List& more = saved.At("param_groups").AsList();
  groups.insert(groups.end(), more.begin(), more.end());
}

}  // namespace

Dict StateOfUnits(models::Module& model, const Optimizer& optimizer, const StateDictOptions& options,
                  const StateDictContext& context) {
  const StateDictSettings settings = UnitSettings(options);
  const SaveOptimOptions save{.rank0_only = settings.optim_config.rank0_only,
                              .shard_state = settings.type != StateDictType::kFull,
                              .offload_to_cpu = settings.optim_config.offload_to_cpu};
  std::vector<std::string> user_warnings;
  Dict saved = SaveOptimState(model, {&optimizer, {}}, StateBesideUnits(model, optimizer, options, context),
                              UnitsGroup(model, *context.world), save, user_warnings);
  WarnUser(context, user_warnings);
  return saved;
}

Communicator& UnitsGroup(models::Module& model, Communicator& world) {
  const FsdpOptions& options = FsdpUnits(model).front()->options();
  return options.replicate_group ? world : *options.shard_group;
}

void AgreeOnOptimizers(const std::vector<Optimizer*>& optimizers, const StateDictContext& context,
                       RankAgreement& agreement) {
  agreement.Try([&] {
    if (!optimizers.empty()) return;
    throw SemanticError("RuntimeError", "Optimizers are not passed in but optim_only is set to True.");
  });
  AgreeOnTexts(context.world, agreement, "optimizers", {"has " + std::to_string(optimizers.size())});
}

Dict GetPlacedStateDict(const Optimizer& optimizer) {
  Dict state_dict = optimizer.StateDict();
  const std::vector<models::ParameterPtr> parameters = ParametersById(optimizer);
  Dict& states = state_dict.Find("state")->AsDict();
  for (size_t id = 0; id < parameters.size(); ++id) {
    const models::Parameter& parameter = *parameters[id];
    Value* state = states.Find(optimizer.StateKey(static_cast<int64_t>(id)));
    if (state) *state = PlacedState(parameter, state->AsDict(), optimizer.LargestExampleState(parameter));
  }
  return state_dict;
}

Dict GetOptimizerStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers,
                           const StateDictOptions& options, const StateDictContext& context) {
  at::NoGradGuard no_grad;
  RankAgreement agreement;
  AgreeOnOptimizers(optimizers, context, agreement);
  CheckOptions(options, context);
  RegisterSharded(model);
  const bool has_units = !FsdpUnits(model).empty();
  Dict state;
  List groups;
  for (Optimizer* optimizer : optimizers) {
    if (has_units) {
      Merge(StateOfUnits(model, *optimizer, options, context), state, groups);
    } else {
      agreement.Try([&] { Merge(SaveByNames(model, *optimizer), state, groups); });
    }
  }
  Dict merged{{"state", std::move(state)}, {"param_groups", std::move(groups)}};
  agreement.Try([&] {
    if (options.flatten_optimizer_state_dict) merged = Flattened(merged);
  });
  AgreeOnTexts(context.world, agreement, "optimizer state",
               options.full_state_dict ? DistributedIn(merged) : std::vector<std::string>());
  List live;
  for (const Optimizer* optimizer : optimizers) live.push_back(optimizer->StateDict());
  Dict formed = InFormOf(options, std::move(merged), context, live);
  CheckOptimizerState(formed, options);
  return formed;
}

}  // namespace shardcts::reference
