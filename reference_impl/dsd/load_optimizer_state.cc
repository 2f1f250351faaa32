#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <optional>

#include "dsd/flattened_state.h"
#include "dsd/optimizer_state.h"
#include "dsd/part_from_rank0.h"
#include "dsd/placed_state.h"
#include "dsd/selected_state.h"
#include "fsdp_optim/incoming_state.h"
#include "fsdp_optim/load_optim_state.h"
#include "agreement/rank_agreement.h"
#include "fsdp_optim/state_entries.h"
#include "tensor/copy_values.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// One optimizer over parameters that no unit manages.
class PlainLoading {
 public:
  PlainLoading(Optimizer& optimizer, const StateDictOptions& options, const StateDictContext& context)
      : optimizer_(optimizer), options_(options), context_(context) {}

  // *Collective* with broadcast_from_rank0. `given`: with the optimizer's groups, or {}.
  void Load(const Dict& given) { optimizer_.LoadStateDict(WithoutStorageOf(given, LocalStateDict(given)).AsDict()); }

  // The same in the form that the optimizer itself has; storage may be shared with `given`.
  Dict LocalStateDict(const Dict& given) const {
    const List& groups = EntryOf(given, "param_groups").AsList();
    const Dict& state = EntryOf(given, "state").AsDict();
    Dict local = state;  // the order of its entries becomes the optimizer's
    List adapted_groups;
    for (size_t i = 0; i < groups.size(); ++i) {
      const Dict& group = groups[i].AsDict();
      AdaptStates(i, EntryOf(group, "params").AsList(), state, local);
      adapted_groups.push_back(options_.full_state_dict ? WithOwnOptions(i, group) : group);
    }
    return {{"state", std::move(local)}, {"param_groups", std::move(adapted_groups)}};
  }

 private:
  // If groups do not match, LoadStateDict reports it.
  const models::Parameter* ParameterAt(size_t group, size_t index) const {
    if (group >= optimizer_.groups().size()) return nullptr;
    const std::vector<models::ParameterPtr>& parameters = optimizer_.groups()[group].parameters;
    return index < parameters.size() ? parameters[index].get() : nullptr;
  }

  void AdaptStates(size_t group, const List& params, const Dict& state, Dict& local) const {
    for (size_t i = 0; i < params.size(); ++i) {
      const models::Parameter* parameter = ParameterAt(group, i);
      if (!parameter) continue;
      const auto* name = params[i].TryAs<std::string>();
      const Key key = name ? Key(*name) : Key(params[i].AsInt());
      const Dict* own = optimizer_.FindState(*parameter);
      if (const Value* given = state.Find(key)) {
        local.Set(key, Adapted(*parameter, given->AsDict(), own));
      } else if (options_.full_state_dict && own) {
        local.Set(key, *own);
      }
    }
  }

  Dict Adapted(const models::Parameter& parameter, const Dict& given, const Dict* own) const {
    Dict adapted = options_.full_state_dict && own ? *own : Dict{};
    for (const auto& [name, value] : given) {
      const Value* mine = own ? own->Find(name) : nullptr;
      adapted.Set(name, LocalValue(parameter, value, mine));
    }
    return adapted;
  }

  // This rank's part, in the storage of the existing state if it fits, so that no more than one full tensor is needed
  // in addition.
  Value LocalValue(const models::Parameter& parameter, const Value& value, const Value* mine) const {
    if (!options_.full_state_dict) return LocalState(parameter, value, /*is_whole=*/false, context_.meshes);
    const auto* target = mine ? mine->TryAs<Tensor>() : nullptr;
    if (options_.broadcast_from_rank0 && IsInRows(parameter, value)) {
      const at::Tensor& whole = value.AsTensor();
      return RowsFromRank0(whole, whole.scalar_type(), *FindDistribution(parameter), *context_.world,
                           target ? target->data : at::Tensor());
    }
    const Value part = LocalState(parameter, Whole(value), /*is_whole=*/true, context_.meshes);
    const auto* source = part.TryAs<Tensor>();
    if (!source) return part;
    const bool fits = target && target->data.sizes() == source->data.sizes() && !target->data.is_meta() &&
                      target->data.scalar_type() == source->data.scalar_type();
    if (!fits) return source->data.clone();
    CopyValues(target->data, source->data);
    return target->data;
  }

  // Whether each rank can receive its part of this value of rank 0 (on other ranks a meta tensor) without the full
  // tensor.
  bool IsInRows(const models::Parameter& parameter, const Value& value) const {
    const DTensorDistribution* layout = FindDistribution(parameter);
    return layout && IsTensorWithDims(value) && value.AsTensor().sizes() == at::IntArrayRef(layout->shape) &&
           AreRowsOfWorld(*layout, *context_.world);
  }

  Value Whole(const Value& value) const {
    if (!options_.broadcast_from_rank0 || !IsTensorWithDims(value)) return value;
    return Broadcast(value, *context_.world, at::kCPU);
  }

  // Options that the saved group does not have are kept.
  Dict WithOwnOptions(size_t group, const Dict& given) const {
    if (group >= optimizer_.groups().size()) return given;
    Dict options = optimizer_.groups()[group].options;
    for (const auto& [name, value] : given) options.Set(name, value);
    return options;
  }

  Optimizer& optimizer_;
  StateDictOptions options_;
  const StateDictContext& context_;
};

// The part of `state_dict` for one optimizer. *Local*.
Dict ForOptimizer(const Dict& state_dict, const Optimizer& optimizer, const ParameterNames& names, bool strict) {
  if (IsFlattened(state_dict)) return Unflattened(state_dict, optimizer, names, strict);
  if (IsKeyedByIds(state_dict)) return state_dict;
  return SelectedState(state_dict, optimizer, names, strict);
}

// *Collective* over the units' group.
void LoadOfUnits(models::Module& model, Optimizer& optimizer, const Dict* given, const StateDictOptions& options,
                 const StateDictContext& context) {
  std::vector<std::string> user_warnings;
  const bool rank0_only = UnitSettings(options).optim_config.rank0_only;
  const Dict loaded = OptimStateToLoad(model, {&optimizer, {}}, given, UnitsGroup(model, *context.world),
                                       {.rank0_only = rank0_only}, user_warnings);
  WarnUser(context, user_warnings);
  optimizer.LoadStateDict(WithoutStorageOf(given ? Value(*given) : Value(), loaded).AsDict());
}

}  // namespace

void SetPlacedStateDict(Optimizer& optimizer, const Dict& state_dict, const StateDictContext& context) {
  optimizer.LoadStateDict(PlainLoading(optimizer, {}, context).LocalStateDict(state_dict));
}

void SetOptimizerStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers, const Dict& state_dict,
                           const StateDictOptions& options, const StateDictContext& context) {
  at::NoGradGuard no_grad;
  if (optimizers.empty()) {
    throw SemanticError("RuntimeError", "Optimizers are not passed in but optim_only is set to True.");
  }
  CheckOptions(options, context);
  CheckOptimizerState(state_dict, options);
  const bool has_units = !FsdpUnits(model).empty();
  const ParameterNames names(model);
  for (Optimizer* optimizer : optimizers) {
    InitStateAtRest(*optimizer);
    // An error of one rank must not leave its peers in a collective.
    RankAgreement agreement;
    std::optional<Dict> mine;
    agreement.Try([&] {
      const bool counts = !options.broadcast_from_rank0 || context.world->rank() == 0;
      if (counts && !state_dict.empty()) mine = ForOptimizer(state_dict, *optimizer, names, options.strict);
    });
    if (options.broadcast_from_rank0 && !has_units) {
      mine = ReceiveFromFirst(mine ? &*mine : nullptr, *context.world, agreement).state_dict;
    } else if (has_units) {
      agreement.Exchange(UnitsGroup(model, *context.world), {});
    }
    agreement.ThrowIfRefused();
    if (has_units) {
      LoadOfUnits(model, *optimizer, mine ? &*mine : nullptr, options, context);
    } else if (mine) {
      PlainLoading(*optimizer, options, context).Load(*mine);
    }
  }
}

}  // namespace shardcts::reference
