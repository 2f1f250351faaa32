// Mutants for the suite of rules: names, ties, buffers, extra state and dtypes.
#include <ATen/ATen.h>

#include <cctype>

#include "mutants/mutate.h"

namespace shardcts {
namespace {

const std::vector<std::string> kRules = {"extended"};

using StateChange = std::function<void(MutantState& state, const Dict& arguments, Dict& entries)>;

bool IsSave(std::string_view operation) {
  return operation == "model.state_dict" || operation == "dsd.get_model_state_dict";
}

bool IsLoad(std::string_view operation) {
  return operation == "model.load_state_dict" || operation == "dsd.set_model_state_dict";
}

// Changes what is saved of a model, in whatever way.
Mutation OnSaved(StateChange change) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (outcome.ok() && IsSave(operation)) change(state, arguments, outcome.value().AsDict());
    return outcome;
  };
}

// Changes what is to be loaded into a model.
Mutation OnLoaded(StateChange change) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    if (IsLoad(operation)) {
      Dict entries = arguments.At("state_dict").AsDict();
      change(state, arguments, entries);
      arguments.Set("state_dict", entries);
    }
    return state.inner.Invoke(operation, arguments);
  };
}

// The plain tensor, or the local part, or each local shard becomes what `change` makes of it.
void ChangeTensor(Value& value, const std::function<at::Tensor(const at::Tensor&)>& change) {
  if (const auto* plain = value.TryAs<Tensor>()) {
    value = change(plain->data);
  } else if (auto* distributed = value.TryAs<DTensor>()) {
    distributed->local = change(distributed->local);
  } else if (auto* sharded = value.TryAs<ShardedTensor>()) {
    for (LocalShard& shard : sharded->local_shards) shard.tensor = change(shard.tensor);
  }
}

StateChange OnTensors(std::function<at::Tensor(const at::Tensor&)> change) {
  return [=](MutantState&, const Dict&, Dict& entries) {
    for (auto& [key, value] : entries) ChangeTensor(value, change);
  };
}

StateChange OnNames(std::function<std::string(const std::string&)> rename) {
  return [=](MutantState&, const Dict&, Dict& entries) {
    Dict renamed;
    for (const auto& [key, value] : entries) renamed.Set(rename(ToString(key)), value);
    entries = renamed;
  };
}

std::string WithCompiledChild(const std::string& name) {
  return name.starts_with("a.") ? "a._orig_mod." + name.substr(2) : name;
}

std::string InLowerCase(std::string name) {
  for (char& letter : name) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return name;
}

// What is wrapped singly goes to the end.
void MoveFirstSiblingsToEnd(MutantState&, const Dict&, Dict& entries) {
  Dict first, last;
  for (const auto& [key, value] : entries) (ToString(key).starts_with("1.") ? last : first).Set(key, value);
  for (const auto& [key, value] : last) first.Set(key, value);
  entries = first;
}

// A name that begins as a wrapped one's is taken for it: a load of 11 goes nowhere.
void LeaveOutEleven(MutantState& state, const Dict& arguments, Dict& entries) {
  const Value saved = state.Require("dsd.get_model_state_dict", {{"model", arguments.At("model")}});
  for (auto& [key, value] : entries) {
    const Value* own = saved.AsDict().Find(key);
    if (ToString(key).starts_with("11.") && own && own->TryAs<Tensor>()) value = *own;
  }
}

// After a load the names of a model show the wrapper.
Mutation NamesChangeWithLoads() {
  return [](MutantState& state, std::string_view operation, Dict& arguments) {
    if (operation == "dsd.set_model_state_dict") state.marked.insert(arguments.At("model").AsHandle().id);
    Outcome outcome = state.inner.Invoke(operation, arguments);
    const bool is_save = outcome.ok() && operation == "dsd.get_model_state_dict";
    if (is_save && state.marked.contains(arguments.At("model").AsHandle().id)) {
      OnNames(WithCompiledChild)(state, arguments, outcome.value().AsDict());
    }
    return outcome;
  };
}

// Names with a component "state" are cut there in flat state dicts.
void CutFlatNames(MutantState&, const Dict&, Value& result) {
  Dict& flat = result.AsDict();
  if (flat.Contains("state")) return;
  Dict cut;
  for (const auto& [key, value] : flat) {
    const std::string name = ToString(key);
    const size_t found = name.find(".state.", 6);
    cut.Set(found == std::string::npos ? name : "state" + name.substr(found + 6), value);
  }
  flat = cut;
}

void LosePartOfInnerModule(MutantState&, const Dict& arguments, Dict& entries) {
  if (arguments.Contains("path") && !entries.empty()) entries.Erase(entries.begin()->key);
}

void ShowWrapperInLists(MutantState&, const Dict&, Value& result) {
  for (const char* list : {"missing_keys", "unexpected_keys"}) {
    List shown;
    for (const std::string& name : result.AsDict().At(list).AsStrings()) shown.push_back(WithCompiledChild(name));
    result.AsDict().Set(list, shown);
  }
}

// Each storage only once.
void DropLaterNames(MutantState&, const Dict&, Dict& entries) {
  std::set<const void*> seen;
  Dict kept;
  for (const auto& [key, value] : entries) {
    const auto* plain = value.TryAs<Tensor>();
    if (plain && plain->data.numel() > 0 && !seen.insert(plain->data.const_data_ptr()).second) continue;
    kept.Set(key, value);
  }
  entries = kept;
}

void FirstTiedNameWins(MutantState&, const Dict&, Dict& entries) {
  const Value* first = entries.Find("embedding.weight");
  if (first && entries.Contains("decoder.weight")) entries.Set("decoder.weight", Value(*first));
}

Mutation LoadsReplace() {
  return OnArguments("model.load_state_dict", [](MutantState&, Dict& arguments) { arguments.Set("assign", true); });
}

// Other ranks than rank 0 keep the buffers that they have.
Outcome KeepBuffers(MutantState& state, std::string_view operation, Dict& arguments) {
  if (!IsLoad(operation) || state.context.rank == 0) return state.inner.Invoke(operation, arguments);
  const Value model = arguments.At("model");
  const Value before =
      state.Require("tensor.clone", {{"value", state.Require("model.buffers", {{"model", model}})}});
  Outcome outcome = state.inner.Invoke(operation, arguments);
  state.Require("model.set_values", {{"model", model}, {"values", before}});
  return outcome;
}

at::Tensor HalvesAreFloats(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16 ? tensor.to(at::kFloat) : tensor;
}

at::Tensor Rounded(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kFloat ? tensor.to(at::kBFloat16).to(at::kFloat) : tensor;
}

at::Tensor AddedToZeros(const at::Tensor& tensor) { return tensor.is_floating_point() ? tensor + 0.0 : tensor; }

at::Tensor WithGradient(const at::Tensor& tensor) {
  return tensor.is_floating_point() ? tensor.detach().set_requires_grad(true) : tensor;
}

// The elements in the order in which they lie in storage.
at::Tensor InOrderOfStorage(const at::Tensor& tensor) {
  if (tensor.is_contiguous()) return tensor;
  const int64_t room = static_cast<int64_t>(tensor.storage().nbytes() / tensor.element_size()) - tensor.storage_offset();
  if (room < tensor.numel()) return tensor.contiguous();
  return tensor.as_strided({tensor.numel()}, {1}).reshape(tensor.sizes());
}

// Extra state is asked for twice.
Outcome SaveTwice(MutantState& state, std::string_view operation, Dict& arguments) {
  if (IsSave(operation)) state.inner.Invoke(operation, arguments);
  return state.inner.Invoke(operation, arguments);
}

// Rows that no rank has are given to counters.
void CountersHaveRows(MutantState&, const Dict&, Value& result) {
  const Value* by_name = result.AsDict().Find("state");
  if (!by_name) return;
  ForEachEntry(result.AsDict(), [](Dict& state) {
    if (Value* step = state.Find("step"); step && step->TryAs<Tensor>()) *step = step->AsTensor().reshape({1});
  });
}

std::vector<MutantRow> NameRules() {
  return {
      {{"rules_child_wrapper_shown", "names below a child show its wrapper", "wrapper stripped only at the root", kRules,
        {"NA1 NA1"}},
       OnSaved(OnNames(WithCompiledChild))},
      {{"rules_names_change_with_loads", "names show a wrapper after a load", "M16: names depend on history", kRules,
        {"NA2 NA2"}},
       NamesChangeWithLoads()},
      {{"rules_wrapped_keys_last", "entries of a wrapped child come last", "renamed keys are appended", kRules,
        {"NA3 NA3"}},
       OnSaved(MoveFirstSiblingsToEnd)},
      {{"rules_prefix_matches_sibling", "a load of 11 goes nowhere where 1 is wrapped", "M18: names matched by prefix",
        kRules, {"NA4 NA4"}},
       OnLoaded(LeaveOutEleven)},
      {{"rules_flat_name_cut", "a flat name is cut at a component called state", "keys split at a word", kRules,
        {"NA5 NA5"}},
       OnResult("dsd.get_optimizer_state_dict", CutFlatNames)},
      {{"rules_names_in_lower_case", "names lose their case", "names compared without case", kRules, {"NA6 NA6"}},
       OnSaved(OnNames(InLowerCase))},
      {{"rules_inner_dict_in_part", "the dict of an inner module lacks an entry", "M23: a part without a word", kRules,
        {"NA7 NA7"}},
       OnSaved(LosePartOfInnerModule)},
      {{"rules_lists_show_wrapper", "lists of missing and unexpected keys show a wrapper", "names in results not cleaned",
        kRules, {"NA9 NA9"}},
       [](MutantState& state, std::string_view operation, Dict& arguments) {
         Outcome outcome = state.inner.Invoke(operation, arguments);
         if (outcome.ok() && IsLoad(operation)) ShowWrapperInLists(state, arguments, outcome.value());
         return outcome;
       }},
  };
}

std::vector<MutantRow> TieRules() {
  return {
      {{"rules_later_tied_names_dropped", "a tied tensor is saved under its first name only", "M24: names by identity",
        kRules, {"TB1 TB1"}},
       OnSaved(DropLaterNames)},
      {{"rules_loads_replace", "loads replace tensors instead of copying", "M25: ties are cut by a load", kRules,
        {"TB2 TB2", "TB12 TB12", "DT4 DT4"}},
       LoadsReplace()},
      {{"rules_first_tied_name_wins", "of different values under tied names the first is loaded", "order of loading",
        kRules, {"TB5 TB5"}},
       OnLoaded(FirstTiedNameWins)},
      {{"rules_buffers_on_rank_0_only", "buffers are loaded on rank 0 only", "buffers are not broadcast", kRules,
        {"TB6 TB6"}},
       KeepBuffers},
      {{"rules_halves_are_floats", "half-precision tensors are saved as float32", "M29: cast to the widest dtype", kRules,
        {"TB7 TB7", "DT1 DT1"}},
       OnSaved(OnTensors(HalvesAreFloats))},
      {{"rules_saved_values_rounded", "saved values are rounded to bfloat16", "M34: the compute copy is saved", kRules,
        {"TB8 TB8", "DT3 DT3"}},
       OnSaved(OnTensors(Rounded))},
      {{"rules_extra_state_asked_twice", "a save asks for extra state twice", "M32: a dry run before the save", kRules,
        {"TB10 TB10"}},
       SaveTwice},
  };
}

std::vector<MutantRow> DtypeRules() {
  return {
      {{"rules_added_to_zeros", "saved values are added to zeros", "gathering by a sum", kRules, {"DT2 DT2"}},
       OnSaved(OnTensors(AddedToZeros))},
      {{"rules_entries_require_gradients", "entries of state dicts require gradients", "entries are the parameters",
        kRules, {"DT6 DT6"}},
       OnSaved(OnTensors(WithGradient))},
      {{"rules_counters_have_rows", "step has one row", "M39: numbers as tensors with a dimension", kRules, {"DT8 DT8"}},
       OnResult("dsd.get_optimizer_state_dict", CountersHaveRows)},
      {{"rules_order_of_storage", "views are loaded in the order of their storage", "data sent without strides", kRules,
        {"DT11 DT11"}},
       OnLoaded(OnTensors(InOrderOfStorage))},
  };
}

}  // namespace

std::vector<MutantRow> RuleMutants() {
  std::vector<MutantRow> rows = NameRules();
  for (const auto& more : {TieRules(), DtypeRules()}) rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

}  // namespace shardcts
