// Mutants of the rules of optimizer state (suites/extended).
#include <ATen/ATen.h>

#include <algorithm>

#include "mutants/rule_mutant.h"

namespace shardcts {
namespace {

bool IsGetOfOptimizer(std::string_view operation) {
  return operation == "dsd.get_optimizer_state_dict" || operation == "fsdp.optim_state_dict";
}

// Changes saved optimizer state dicts by name; those that are flat or empty stay.
Mutation OnSavedState(StateDictChange change) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (outcome.ok() && IsGetOfOptimizer(operation) && outcome.value().AsDict().Contains("state")) {
      change(state, arguments, outcome.value().AsDict());
    }
    return outcome;
  };
}

// Changes optimizer state dicts by name that are to be loaded.
Mutation OnLoadedState(StateDictChange change) {
  return OnArguments("dsd.set_optimizer_state_dict", [=](MutantState& state, Dict& arguments) {
    Dict state_dict = arguments.At("state_dict").AsDict();
    if (!state_dict.Contains("state")) return;
    change(state, arguments, state_dict);
    arguments.Set("state_dict", state_dict);
  });
}

StateDictChange OnEachEntry(std::function<void(MutantState&, Dict& entry)> change) {
  return [=](MutantState& state, const Dict&, Dict& state_dict) {
    ForEachEntry(state_dict, [&](Dict& entry) { change(state, entry); });
  };
}

Handle OptimizerOf(const Dict& arguments) {
  const Value* one = arguments.Find("optimizer");
  return one ? one->AsHandle() : arguments.At("optimizers").AsList().front().AsHandle();
}

// The parameters of the first group, in the optimizer's order.
std::vector<std::string> ListedNames(const Dict& state_dict) {
  return state_dict.At("param_groups").AsList().front().AsDict().At("params").AsStrings();
}

// The state of the last parameter under the name of the first, and the other way round, where their shapes are equal.
void SwapEqualShapes(MutantState&, const Dict&, Dict& state_dict) {
  Value* first = StateOf(state_dict).Find("a.weight");
  Value* last = StateOf(state_dict).Find("c.weight");
  if (first && last) std::swap(*first, *last);
}

void LabelReplicated(MutantState&, Dict& entry) {
  for (auto& [name, value] : entry) {
    if (auto* dtensor = value.TryAs<DTensor>()) std::ranges::fill(dtensor->placements, Placement::Replicate());
    if (auto* sharded = value.TryAs<ShardedTensor>()) sharded->metadata.clear();
  }
}

// Whether the rank holds nothing of a moment.
bool IsEmptyPart(const Value& value) {
  if (const auto* dtensor = value.TryAs<DTensor>()) return dtensor->local.numel() == 0;
  const auto* sharded = value.TryAs<ShardedTensor>();
  return sharded && sharded->local_shards.empty();
}

void ForgetStepOfEmptyParts(MutantState&, Dict& entry) {
  const bool empty = std::ranges::any_of(entry, [](const Dict::Entry& one) { return IsEmptyPart(one.value); });
  if (empty && entry.Contains("step")) entry.Set("step", at::scalar_tensor(0, at::kFloat));
}

// State is complete as soon as one parameter has some.
void TakePartForComplete(MutantState& state, const Dict& arguments, Dict& state_dict) {
  const Value own = state.Require("optimizer.state_dict", {{"optimizer", OptimizerOf(arguments)}});
  const Dict& by_id = own.AsDict().At("state").AsDict();
  if (by_id.empty()) return;
  int64_t id = 0;
  for (const std::string& name : ListedNames(state_dict)) {
    if (!by_id.Contains(id++)) StateOf(state_dict).Erase(name);
  }
}

bool IsFrozen(const Value& parameter) {
  const auto* dtensor = parameter.TryAs<DTensor>();
  return dtensor ? !dtensor->requires_grad : !parameter.AsTensor().requires_grad();
}

void DropFrozen(MutantState& state, const Dict& arguments, Dict& state_dict) {
  const Value parameters = state.Require("model.parameters", {{"model", arguments.At("model")}});
  for (const auto& [name, value] : parameters.AsDict()) {
    if (IsFrozen(value)) StateOf(state_dict).Erase(name);
  }
}

// All show the tensor of the first.
void ShareOneStep(MutantState&, const Dict&, Dict& state_dict) {
  std::optional<Value> first;
  ForEachEntry(state_dict, [&](Dict& entry) {
    const Value* step = entry.Find("step");
    if (step && !first) first = *step;
    if (step) entry.Set("step", *first);
  });
}

// Whole state in which nothing has dimensions has no device.
Outcome RefuseWithoutState(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation != "dsd.set_optimizer_state_dict") return state.inner.Invoke(operation, arguments);
  const Dict state_dict = arguments.At("state_dict").AsDict();
  const Value* entries = state_dict.Find("state");
  const Value* options = arguments.Find("options");
  const Value* full = options ? options->AsDict().Find("full_state_dict") : nullptr;
  const bool refused = entries && entries->AsDict().empty() && full && full->AsBool();
  if (refused) return Error{"AssertionError", "Expected device to be set"};
  return state.inner.Invoke(operation, arguments);
}

// Gradients are taken for a sign that there is state.
void TakeGradientsForState(MutantState& state, const Dict& arguments, Dict& state_dict) {
  const Value own = state.Require("optimizer.state_dict", {{"optimizer", OptimizerOf(arguments)}});
  if (!own.AsDict().At("state").AsDict().empty()) return;
  const Value gradients = state.Require("model.gradients", {{"model", arguments.At("model")}});
  const bool some = std::ranges::any_of(gradients.AsDict(), [](const Dict::Entry& one) { return !one.value.IsNone(); });
  if (some) state_dict.Set("state", Dict{});
}

void FillMoment(Value& value) {
  if (auto* tensor = value.TryAs<Tensor>()) tensor->data = at::full_like(tensor->data, 0.5);
  if (auto* dtensor = value.TryAs<DTensor>()) dtensor->local = at::full_like(dtensor->local, 0.5);
}

// What the get has made has taken a step with the weight decay.
void DecayFirstMoments(MutantState& state, const Dict& arguments, Dict& state_dict) {
  const Value own = state.Require("optimizer.state_dict", {{"optimizer", OptimizerOf(arguments)}});
  const Value decay = own.AsDict().At("param_groups").AsList().front().AsDict().At("weight_decay");
  if (!own.AsDict().At("state").AsDict().empty() || decay.AsDouble() == 0) return;
  ForEachEntry(state_dict, [](Dict& entry) {
    for (const char* moment : {"exp_avg", "momentum_buffer"}) {
      if (Value* value = entry.Find(moment)) FillMoment(*value);
    }
  });
}

Value WithTextKeys(const Value& value) {
  const auto* dict = value.TryAs<Dict>();
  if (!dict) return value;
  Dict renamed;
  for (const auto& [key, entry] : *dict) renamed.Set(ToString(key), WithTextKeys(entry));
  return renamed;
}

void MakeKeysText(MutantState&, Dict& entry) { entry = WithTextKeys(entry).AsDict(); }

// The pair of a bias of two elements is cut as the bias.
void CutPair(MutantState&, const Dict&, Dict& state_dict) {
  Value* state = StateOf(state_dict).Find("0.bias");
  Value* pair = state ? state->AsDict().Find("pair") : nullptr;
  if (pair) *pair = Value(pair->AsTensor().narrow(0, 0, 1).clone());
}

// Int components of flat names become text.
void QuoteInts(MutantState&, const Dict&, Value& result) {
  Dict renamed;
  for (const auto& [key, value] : result.AsDict()) {
    std::string name = ToString(key);
    if (name.ends_with(".0")) name.replace(name.size() - 1, 1, "\"zero\"");
    renamed.Set(name, value);
  }
  if (!result.AsDict().Contains("state")) result.AsDict() = renamed;
}

// What a flat state dict lacks is no error.
void AcceptMissing(MutantState&, Dict& arguments) {
  const Dict state_dict = arguments.At("state_dict").AsDict();
  if (state_dict.Contains("state")) return;
  Dict options = arguments.Contains("options") ? arguments.At("options").AsDict() : Dict();
  options.Set("strict", false);
  arguments.Set("options", options);
}

// State under no parameter is dropped without a word.
Outcome DropGlobal(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (operation != "dsd.get_optimizer_state_dict" || outcome.ok()) return outcome;
  if (outcome.error().message.find("global") == std::string::npos) return outcome;
  return Outcome(Value(Dict{{"state", Dict{}}, {"param_groups", List{}}}));
}

void LoseLargest(MutantState&, Dict& entry) { entry.Erase("max_exp_avg_sq"); }

void MakeLrANumber(MutantState&, const Dict&, Dict& state_dict) {
  List groups = state_dict.At("param_groups").AsList();
  for (Value& group : groups) {
    const Value lr = group.AsDict().At("lr");
    if (lr.TryAs<Tensor>()) group.AsDict().Set("lr", lr.AsTensor().item<double>());
  }
  state_dict.Set("param_groups", groups);
}

// The state that the optimizer lists first goes to the model's first parameter, and so on.
void NameByPosition(MutantState& state, const Dict& arguments, Dict& state_dict) {
  const Value parameters = state.Require("model.parameters", {{"model", arguments.At("model")}});
  const std::vector<std::string> names = parameters.AsDict().Keys();
  const std::vector<std::string> listed = ListedNames(state_dict);
  const Dict before = StateOf(state_dict);
  for (size_t i = 0; i < std::min(names.size(), listed.size()); ++i) {
    const Value* found = before.Find(listed[i]);
    if (found) StateOf(state_dict).Set(names[i], *found);
  }
}

}  // namespace

std::vector<MutantRow> RuleOptimizerMutants() {
  const std::string get = "dsd.get_optimizer_state_dict";
  const std::string set = "dsd.set_optimizer_state_dict";
  return {
      RuleMutant("OP1", "state_of_equal_shapes_swapped", "two layers of equal shape are saved with each other's state",
                 "state matched by shape", OnSavedState(SwapEqualShapes), 2),
      RuleMutant("OP2", "moments_labelled_replicated",
                 "sharded moments are saved as replicated, or without metadata", "moments restored as plain tensors", OnSavedState(OnEachEntry(LabelReplicated)), 2),
      RuleMutant("OP3", "step_of_empty_part_is_zero", "a rank that holds nothing of a parameter saves step 0",
                 "empty shards are not stepped", OnSavedState(OnEachEntry(ForgetStepOfEmptyParts)), 3),
      RuleMutant("OP4", "part_of_state_taken_for_all", "parameters without state are left out where another has state",
                 "partly initialised state taken as complete", OnSavedState(TakePartForComplete)),
      RuleMutant("OP5", "frozen_state_not_loaded", "state of parameters that are frozen now is not loaded",
                 "filtered by requires_grad on load", OnLoadedState(DropFrozen)),
      RuleMutant("OP6", "frozen_state_not_saved", "state of parameters that are frozen now is not saved",
                 "filtered by requires_grad on save", OnSavedState(DropFrozen)),
      RuleMutant("OP7", "one_step_for_all", "every saved step is the tensor of the first", "alias in place of a copy",
                 OnSavedState(ShareOneStep)),
      RuleMutant("OP8", "stateless_optimizer_refused", "whole state without tensors is an error",
                 "the device is taken from the state", RefuseWithoutState),
      RuleMutant("OP9", "gradients_taken_for_state", "where gradients are there, missing state is not made",
                 "initialisation returns early", OnSavedState(TakeGradientsForState)),
      RuleMutant("OP10", "decay_in_first_moments", "moments that a get makes contain the weight decay",
                 "a real step makes the state", OnSavedState(DecayFirstMoments)),
      RuleMutant("OP11", "int_keys_become_text", "int keys of nested state are saved as text", "names joined to text",
                 OnSavedState(OnEachEntry(MakeKeysText))),
      RuleMutant("OP12", "pair_cut_like_parameter", "state with its parameter's shape is cut like it, whatever it is",
                 "narrowed by shape", OnSavedState(CutPair), 2),
      RuleMutant("OP13", "flat_int_keys_renamed", "int keys get another name in flat state dicts",
                 "nested-dict flattening loses keys", OnResult(get, QuoteInts)),
      RuleMutant("OP14", "flat_missing_accepted", "state that a flat state dict lacks is no error",
                 "no strict check in the flattened path", OnArguments(set, AcceptMissing)),
      RuleMutant("OP15", "global_state_dropped", "state under no parameter is not saved, and no error",
                 "only parameters are walked", DropGlobal),
      RuleMutant("OP16", "largest_moment_lost", "max_exp_avg_sq is not saved", "state names from a fixed list",
                 OnSavedState(OnEachEntry(LoseLargest)), 2),
      RuleMutant("OP17", "tensor_lr_becomes_number", "a learning rate that is a tensor is saved as a number",
                 "tensor options converted", OnSavedState(MakeLrANumber)),
      RuleMutant("OP18", "state_named_by_position", "state is named by its position in the optimizer",
                 "match by index, not name", OnSavedState(NameByPosition), 2),
  };
}

}  // namespace shardcts
