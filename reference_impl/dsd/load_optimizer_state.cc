#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>
#include <optional>

#include "dsd/flattened_state.h"
#include "dsd/optimizer_state.h"
#include "dsd/part_from_rank0.h"
#include "dsd/placed_beside_units.h"
#include "dsd/placed_state.h"
#include "dsd/selected_state.h"
#include "fsdp_optim/incoming_state.h"
#include "fsdp_optim/load_optim_state.h"
#include "agreement/rank_agreement.h"
#include "fsdp_optim/model_parameters.h"
#include "fsdp_optim/state_entries.h"
#include "optim/named_optimizer.h"
#include "optim/state_shapes.h"
#include "tensor/copy_values.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// One parameter of an optimizer, under the name (or id) that the state dict has for it.
struct NamedState {
  Key key;
  const models::Parameter* parameter = nullptr;
  const Dict* given = nullptr;  // nullptr: the state dict has no state of it
  const Dict* own = nullptr;    // nullptr: the optimizer has none
  Dict example;                 // Optimizer::LargestExampleState
};

std::vector<int64_t> GlobalShape(const models::Parameter& parameter) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  return distribution ? distribution->shape : parameter.value.sizes().vec();
}

// One optimizer over parameters that no unit manages.
class PlainLoading {
 public:
  PlainLoading(Optimizer& optimizer, const StateDictOptions& options, const StateDictContext& context)
      : optimizer_(optimizer), options_(options), context_(context), own_(optimizer.CompleteState()) {}

  // *Local*. The errors of Load, before anything has changed. Returns what Load communicates, in the same order: ranks
  // may call it only if all of them have the same.
  std::vector<std::string> Check(const Dict& given) const {
    const Dict& state = EntryOf(given, "state").AsDict();
    Dict merged = state;
    std::vector<std::string> communications;
    for (const NamedState& one : InCommonOrder(EntryOf(given, "param_groups").AsList(), state)) {
      if (!one.given) continue;
      CheckStateShapes(optimizer_, *one.parameter, ToString(one.key), GlobalShape(*one.parameter), *one.given);
      for (const Dict::Entry& entry : SortedEntries(*one.given)) {
        const std::string text =
            CommunicationFor(*one.parameter, entry.value, one.example.Find(entry.key), options_.full_state_dict,
                             context_.meshes);
        if (text.empty()) continue;
        communications.push_back("has " + ToString(one.key) + "." + ToString(entry.key) + " of shape " + text);
      }
      Dict all = CompletesWithOwn() && one.own ? *one.own : Dict{};
      for (const auto& [name, value] : *one.given) all.Set(name, value);
      merged.Set(one.key, std::move(all));
    }
    optimizer_.CheckLoad(Dict{{"state", std::move(merged)}, {"param_groups", EntryOf(given, "param_groups")}});
    return communications;
  }

  // *Local*. ValueError as CheckStateShapes, for parameters that are DTensors: a tensor of another shape would be taken
  // for this rank's part. An optimizer alone checks no others.
  void CheckDistributed(const Dict& given) const {
    for (const NamedState& one :
         InCommonOrder(EntryOf(given, "param_groups").AsList(), EntryOf(given, "state").AsDict())) {
      if (!one.given || !FindDistribution(*one.parameter)) continue;
      CheckStateShapes(optimizer_, *one.parameter, ToString(one.key), GlobalShape(*one.parameter), *one.given);
    }
  }

  // *Collective* with broadcast_from_rank0, or where Check says so. `given`: with the optimizer's groups, or {}.
  // `keeps_lacking`: parameters of which it has no state keep their own, as the options say.
  void Load(const Dict& given, bool keeps_lacking) {
    const List& groups = EntryOf(given, "param_groups").AsList();
    const Dict& state = EntryOf(given, "state").AsDict();
    Dict local = state;  // the order of its entries becomes the optimizer's
    for (const NamedState& one : InCommonOrder(groups, state)) {
      if (one.given) {
        local.Set(one.key, Adapted(one));
      } else if (one.own && keeps_lacking && KeepsOwn(*one.parameter)) {
        local.Set(one.key, *one.own);
      }
    }
    List adapted_groups;
    for (size_t i = 0; i < groups.size(); ++i) adapted_groups.push_back(WithOwnOptions(i, groups[i].AsDict()));
    Dict loaded{{"state", std::move(local)}, {"param_groups", std::move(adapted_groups)}};
    optimizer_.LoadStateDict(WithoutStorageOf(given, std::move(loaded)).AsDict());
  }

 private:
  // Entries that a given state lacks are the optimizer's own.
  bool CompletesWithOwn() const { return options_.full_state_dict || !options_.strict; }

  // State that the state dict lacks is kept, unless it must have it.
  bool KeepsOwn(const models::Parameter& parameter) const {
    return options_.full_state_dict || !options_.strict || !parameter.value.requires_grad();
  }

  // If groups do not match, LoadStateDict reports it.
  const models::Parameter* ParameterAt(size_t group, size_t index) const {
    if (group >= optimizer_.groups().size()) return nullptr;
    const std::vector<models::ParameterPtr>& parameters = optimizer_.groups()[group].parameters;
    return index < parameters.size() ? parameters[index].get() : nullptr;
  }

  // The same order on all ranks, also where their optimizers have their parameters in other orders.
  std::vector<NamedState> InCommonOrder(const List& groups, const Dict& state) const {
    std::vector<NamedState> all;
    int64_t id = 0;
    for (size_t i = 0; i < groups.size(); ++i) {
      const List& params = EntryOf(groups[i].AsDict(), "params").AsList();
      for (size_t j = 0; j < params.size(); ++j, ++id) {
        const models::Parameter* parameter = ParameterAt(i, j);
        if (!parameter) continue;
        const auto* name = params[j].TryAs<std::string>();
        const Key key = name ? Key(*name) : Key(params[j].AsInt());
        const Value* given = state.Find(key);
        const Value* own = own_.Find(id);
        all.push_back({key, parameter, given ? &given->AsDict() : nullptr, own ? &own->AsDict() : nullptr,
                       optimizer_.LargestExampleState(*parameter)});
      }
    }
    std::ranges::sort(all, {}, &NamedState::key);
    return all;
  }

  Dict Adapted(const NamedState& one) const {
    Dict adapted;
    if (CompletesWithOwn() && one.own) adapted = *one.own;
    for (const auto& [name, value] : *one.given) adapted.Set(name, {});  // their order
    for (const Dict::Entry& entry : SortedEntries(*one.given)) {
      const Value* mine = one.own ? one.own->Find(entry.key) : nullptr;
      adapted.Set(entry.key, LocalValue(*one.parameter, entry.value, one.example.Find(entry.key), mine));
    }
    return adapted;
  }

  // This rank's part, in the storage of the existing state if it fits, so that no more than one full tensor is needed
  // in addition.
  Value LocalValue(const models::Parameter& parameter, const Value& value, const Value* example,
                   const Value* mine) const {
    if (!options_.full_state_dict) return LocalState(parameter, value, example, /*is_whole=*/false, context_.meshes);
    const auto* target = mine ? mine->TryAs<Tensor>() : nullptr;
    if (options_.broadcast_from_rank0 && IsInRows(parameter, value, example)) {
      const at::Tensor& whole = value.AsTensor();
      return RowsFromRank0(whole, whole.scalar_type(), *FindDistribution(parameter), *context_.world,
                           target ? target->data : at::Tensor());
    }
    const Value part = LocalState(parameter, Whole(value), example, /*is_whole=*/true, context_.meshes);
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
  bool IsInRows(const models::Parameter& parameter, const Value& value, const Value* example) const {
    const DTensorDistribution* layout = FindDistribution(parameter);
    return layout && IsTensorWithDims(value) && IsShapedLike(value.AsTensor(), example, layout->shape) &&
           AreRowsOfWorld(*layout, *context_.world);
  }

  Value Whole(const Value& value) const {
    if (!options_.broadcast_from_rank0 || !IsTensorWithDims(value)) return value;
    return Broadcast(value, *context_.world);
  }

  // With full_state_dict options that the saved group does not have are kept.
  Dict WithOwnOptions(size_t group, const Dict& given) const {
    if (!options_.full_state_dict || group >= optimizer_.groups().size()) return given;
    Dict options = optimizer_.groups()[group].options;
    for (const auto& [name, value] : given) options.Set(name, value);
    return options;
  }

  Optimizer& optimizer_;
  StateDictOptions options_;
  const StateDictContext& context_;
  Dict own_;  // by id, with state at rest where the optimizer has none
};

// A state dict for several optimizers, of which each takes its part. *Local*.
class Parts {
 public:
  // `complete`: under strict each state must have all that the optimizer keeps.
  Parts(const ParameterNames& names, const std::vector<Optimizer*>& optimizers, const Dict& state_dict, bool strict,
        bool complete)
      : names_(names), state_dict_(state_dict), strict_(strict), complete_(complete), empty_groups_(List()) {
    is_flat_ = IsFlattened(state_dict);
    if (state_dict.empty()) return;
    empty_groups_ = SavedEmptyGroups(is_flat_ ? FlatEmptyGroups(state_dict)
                                              : EntryOf(state_dict, "param_groups").AsList());
    CheckEmptyGroups(CountEmptyGroups(optimizers));
  }

  // For the next of the optimizers.
  Dict For(const Optimizer& optimizer) {
    if (is_flat_) {
      return Unflattened(state_dict_, optimizer, optimizer.CompleteState(), names_, empty_groups_, {strict_, complete_});
    }
    if (IsKeyedByIds(state_dict_)) return state_dict_;
    Dict part = SelectedState(state_dict_, optimizer, names_, empty_groups_, strict_);
    if (strict_ && complete_) RequireCompleteState(optimizer, part);
    return part;
  }

  // ValueError as CheckStateShapes, for what is state of a parameter of the optimizer in `part`.
  void CheckShapes(const Optimizer& optimizer, const ModelParameters& parameters, const Dict& part) const {
    for (const models::ParameterPtr& object : ParametersById(optimizer)) {
      const ModelParameter* parameter = parameters.Find(*object);
      for (size_t i = 0; parameter && i < parameter->fqns.size(); ++i) {
        const Value* given = EntryOf(part, "state").AsDict().Find(parameter->fqns[i]);
        if (!given) continue;
        CheckStateShapes(optimizer, *object, parameter->fqns[i], parameter->ShapeOf(i), given->AsDict());
      }
    }
  }

 private:
  void CheckEmptyGroups(size_t own) const {
    const bool is_open = own == 0 || (is_flat_ && empty_groups_.size() == 0);
    if (is_open || IsKeyedByIdsIn(state_dict_) || own == empty_groups_.size()) return;
    throw SemanticError("ValueError", "There are param groups that have zero parameters: expected " +
                                          std::to_string(own) + " loaded groups without parameters to pair with, actual " +
                                          std::to_string(empty_groups_.size()));
  }
  bool IsKeyedByIdsIn(const Dict& state_dict) const { return !is_flat_ && IsKeyedByIds(state_dict); }

  // RuntimeError: the state of a trainable parameter lacks a tensor that a step with the loaded options needs.
  void RequireCompleteState(const Optimizer& optimizer, const Dict& part) const {
    const Dict& state = EntryOf(part, "state").AsDict();
    const List& groups = EntryOf(part, "param_groups").AsList();
    for (size_t i = 0; i < groups.size(); ++i) {
      for (const models::ParameterPtr& parameter : optimizer.groups()[i].parameters) {
        if (!parameter->value.requires_grad()) continue;
        const Dict needed = optimizer.ExampleState(*parameter, groups[i].AsDict());
        for (const std::string& name : names_.Of(*parameter).fqns) {
          const Value* given = state.Find(name);
          const auto has_it = [&](const Dict::Entry& entry) {
            return !entry.value.TryAs<Tensor>() || given->AsDict().Contains(entry.key);
          };
          if (given && !std::ranges::all_of(needed, has_it)) ThrowMissingState(name);
        }
      }
    }
  }

  const ParameterNames& names_;
  const Dict& state_dict_;
  bool strict_;
  bool complete_;
  bool is_flat_ = false;
  SavedEmptyGroups empty_groups_;
};

bool LacksState(const Optimizer& optimizer, const ModelParameters& parameters, const Dict& state) {
  return std::ranges::any_of(ParametersById(optimizer), [&](const models::ParameterPtr& object) {
    const ModelParameter* parameter = parameters.Find(*object);
    return parameter && !std::ranges::all_of(parameter->fqns, [&](const std::string& fqn) { return state.Contains(fqn); });
  });
}

// The optimizer's own state of one member of a flat parameter, which has the values without dimensions that others
// are given: a flat parameter has one of each.
Dict WithCommonValues(Dict own, const ModelParameters& parameters, const std::string& fqn, const Dict& given) {
  const ModelParameter* parameter = parameters.WithFqn(fqn);
  for (const std::string& other : parameter ? parameter->fqns : std::vector<std::string>()) {
    const Value* state = given.Find(other);
    if (!state) continue;
    for (const auto& [name, value] : state->AsDict()) {
      if (!OutlineOf(value)) own.Set(name, value);
    }
  }
  return own;
}

// *Collective* over the world and the units' group. Parameters whose state is missing keep their own, which is added to
// what is given.
void AddMissingState(models::Module& model, const Optimizer& optimizer, std::optional<Dict>& mine,
                     const StateDictOptions& options, const StateDictContext& context, RankAgreement& agreement) {
  bool lacks = false;
  agreement.Try([&] { lacks = mine && LacksState(optimizer, ModelParameters(model), EntryOf(*mine, "state").AsDict()); });
  const std::vector<Value> all = agreement.Exchange(*context.world, lacks);
  agreement.ThrowIfRefused();
  if (std::ranges::none_of(all, [](const Value& of_rank) { return of_rank.AsBool(); })) return;
  const Dict own = StateOfUnits(model, optimizer, options, context);
  if (!mine || own.empty()) return;
  const ModelParameters parameters(model);
  const Dict given = EntryOf(*mine, "state").AsDict();
  Dict state = given;
  for (const auto& [name, value] : EntryOf(own, "state").AsDict()) {
    if (!given.Contains(name)) state.Set(name, WithCommonValues(value.AsDict(), parameters, ToString(name), given));
  }
  mine->Set("state", std::move(state));
}

// *Collective* over the world and the units' group. `mine`: nullopt on a rank that has nothing to give.
void LoadOfUnits(models::Module& model, Optimizer& optimizer, const Parts* parts, std::optional<Dict> mine,
                 const StateDictOptions& options, const StateDictContext& context, RankAgreement& agreement) {
  agreement.Try([&] {
    if (mine) parts->CheckShapes(optimizer, ModelParameters(model), *mine);
  });
  AgreeOnTexts(context.world, agreement, "state dicts", {});
  if (!options.strict) AddMissingState(model, optimizer, mine, options, context, agreement);
  std::vector<std::string> user_warnings;
  const bool rank0_only = UnitSettings(options).optim_config.rank0_only;
  Dict loaded = OptimStateToLoad(model, {&optimizer, {}}, mine ? &*mine : nullptr, UnitsGroup(model, *context.world),
                                 {.rank0_only = rank0_only}, user_warnings);
  WarnUser(context, user_warnings);
  TakePartsBesideUnits(model, optimizer, loaded, options, context, agreement);
  loaded = WithoutStorageOf(mine ? Value(*mine) : Value(), std::move(loaded)).AsDict();
  agreement.Try([&] { optimizer.CheckLoad(loaded); });
  AgreeOnTexts(context.world, agreement, "state dicts", {});
  optimizer.LoadStateDict(loaded);
}

// Rank 0's part is in the order of its own optimizer.
Dict InOrderOf(const Optimizer& optimizer, const ParameterNames& names, Dict received) {
  if (IsKeyedByIds(received)) return received;
  SavedEmptyGroups empty_groups(EntryOf(received, "param_groups").AsList());
  return SelectedState(received, optimizer, names, empty_groups, /*strict=*/false);
}

// *Collective* over the world, and over the meshes of what must be redistributed.
void LoadOfPlain(Optimizer& optimizer, const ParameterNames& names, std::optional<Dict> mine,
                 const StateDictOptions& options, const StateDictContext& context, RankAgreement& agreement) {
  if (options.broadcast_from_rank0) {
    mine = ReceiveFromFirst(mine ? &*mine : nullptr, *context.world, agreement).state_dict;
    agreement.Try([&] { mine = InOrderOf(optimizer, names, std::move(*mine)); });
  }
  PlainLoading loading(optimizer, options, context);
  std::vector<std::string> communications;
  agreement.Try([&] {
    if (mine) communications = loading.Check(*mine);
  });
  AgreeOnTexts(context.world, agreement, "optimizer state", communications);
  if (mine) loading.Load(*mine, /*keeps_lacking=*/true);
}

// Of an optimizer whose state dicts have names for ids. *Collective* where state is given in other placements.
void SetNamedStateDict(NamedOptimizer& optimizer, const Dict& state_dict, const StateDictContext& context) {
  const Dict& given = EntryOf(state_dict, "state").AsDict();
  Dict states = given;
  std::map<Key, const models::Parameter*> sharded;  // in the same order on all ranks
  int64_t id = 0;
  for (const models::ParameterPtr& parameter : ParametersById(optimizer)) {
    const Key key = optimizer.StateKey(id++);
    const Value* state = given.Find(key);
    if (!state || !FindDistribution(*parameter)) continue;
    CheckStateShapes(optimizer, *parameter, ToString(key), GlobalShape(*parameter), state->AsDict());
    sharded[key] = parameter.get();
  }
  for (const auto& [key, parameter] : sharded) {
    const Value example = optimizer.LargestExampleState(*parameter);
    states.Set(key, LocalState(*parameter, given.At(key), &example, /*is_whole=*/false, context.meshes));
  }
  Dict local = state_dict;
  local.Set("state", std::move(states));
  optimizer.LoadStateDict(local);
}

}  // namespace

void SetPlacedStateDict(Optimizer& optimizer, const Dict& state_dict, const StateDictContext& context) {
  if (auto* named = dynamic_cast<NamedOptimizer*>(&optimizer)) return SetNamedStateDict(*named, state_dict, context);
  PlainLoading loading(optimizer, {}, context);
  loading.CheckDistributed(state_dict);
  loading.Load(state_dict, /*keeps_lacking=*/false);
}

void SetOptimizerStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers, const Dict& state_dict,
                           const StateDictOptions& options, const StateDictContext& context) {
  at::NoGradGuard no_grad;
  RankAgreement agreement;
  AgreeOnOptimizers(optimizers, context, agreement);
  CheckOptions(options, context);
  RegisterSharded(model);
  const bool has_units = !FsdpUnits(model).empty();
  const bool counts = !options.broadcast_from_rank0 || context.world->rank() == 0;
  const ParameterNames names(model);
  std::optional<Parts> parts;
  agreement.Try([&] {
    CheckOptimizerState(state_dict, options);
    // Without units a whole state dict is put over the state that the optimizer has.
    const bool complete = has_units || !options.full_state_dict;
    if (counts && !state_dict.empty()) parts.emplace(names, optimizers, state_dict, options.strict, complete);
  });
  for (Optimizer* optimizer : optimizers) {
    std::optional<Dict> mine;
    agreement.Try([&] {
      if (parts) mine = parts->For(*optimizer);
    });
    if (has_units) {
      LoadOfUnits(model, *optimizer, parts ? &*parts : nullptr, std::move(mine), options, context, agreement);
    } else {
      LoadOfPlain(*optimizer, names, std::move(mine), options, context, agreement);
    }
  }
}

}  // namespace shardcts::reference
