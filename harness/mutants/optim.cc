// Mutants of FSDP1's optimizer state: what a saved state dict holds for whom, and what of it reaches the optimizer of
// this rank.
#include <ATen/ATen.h>

#include <algorithm>

#include "mutants/mutate.h"

namespace shardcts {
namespace {

const std::vector<std::string> kOptimSuite = {"fsdp_optim_state"};
const std::vector<std::string> kSaving = {"fsdp.optim_state_dict", "fsdp.full_optim_state_dict",
                                          "fsdp.sharded_optim_state_dict"};
const std::vector<std::string> kConverting = {"fsdp.optim_state_dict_to_load", "fsdp.shard_full_optim_state_dict",
                                              "fsdp.scatter_full_optim_state_dict",
                                              "fsdp.flatten_sharded_optim_state_dict"};

// Changes the optimizer state dict that one of the operations returns; an empty one stays.
Mutation OnOptimStateDict(std::vector<std::string> operations, StateDictChange change) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (!outcome.ok() || !std::ranges::count(operations, called)) return outcome;
    Dict& state_dict = outcome.value().AsDict();
    if (!state_dict.empty()) change(state, arguments, state_dict);
    return outcome;
  };
}

Mutation OnSaved(StateDictChange change) { return OnOptimStateDict(kSaving, std::move(change)); }
Mutation OnConverted(StateDictChange change) { return OnOptimStateDict(kConverting, std::move(change)); }

// Replaces the tensors with dimensions, of ShardedTensors the local shards.
void ChangeTensors(Dict& state_dict, const std::function<at::Tensor(const at::Tensor&)>& change) {
  ForEachEntry(state_dict, [&](Dict& entry) {
    for (auto& [name, value] : entry) {
      if (Tensor* tensor = value.TryAs<Tensor>(); tensor && tensor->data.dim() > 0) tensor->data = change(tensor->data);
      ShardedTensor* sharded = value.TryAs<ShardedTensor>();
      if (!sharded) continue;
      for (LocalShard& shard : sharded->local_shards) shard.tensor = change(shard.tensor);
    }
  });
}

at::Tensor WithElementsShifted(const at::Tensor& tensor) { return tensor.flatten().roll(1).view_as(tensor); }

// Calls `change` with each parameter group and its number.
void ChangeGroups(Dict& state_dict, const std::function<void(size_t, Dict&)>& change) {
  Value* groups = state_dict.Find("param_groups");
  if (!groups) return;
  List changed = groups->AsList();
  for (size_t i = 0; i < changed.size(); ++i) change(i, changed[i].AsDict());
  *groups = Value(std::move(changed));
}

void ReverseGroups(MutantState&, const Dict&, Dict& state_dict) {
  Value* groups = state_dict.Find("param_groups");
  if (!groups) return;
  List reversed = groups->AsList();
  std::ranges::reverse(reversed);
  *groups = Value(std::move(reversed));
}

// Every group has the hyper-parameters of the first.
void ForgetLaterGroups(MutantState&, const Dict&, Dict& state_dict) {
  Dict first;
  ChangeGroups(state_dict, [&](size_t number, Dict& group) {
    if (number == 0) first = group;
    const Value params = group.At("params");
    group = first;
    group.Set("params", params);
  });
}

void ReverseParams(MutantState&, const Dict&, Dict& state_dict) {
  ChangeGroups(state_dict, [](size_t, Dict& group) {
    List params = group.At("params").AsList();
    std::ranges::reverse(params);
    group.Set("params", params);
  });
}

// The two biases of block1, which have equal shapes.
void SwapParameters(MutantState&, const Dict&, Dict& state_dict) {
  Value* first = StateOf(state_dict).Find("block1.bias_module0.bias");
  Value* second = StateOf(state_dict).Find("block1.bias_module1.bias");
  if (first && second) std::swap(*first, *second);
}

// Every state of a parameter shows the one that was gathered last.
void ReuseTheBuffer(MutantState&, const Dict&, Dict& state_dict) {
  ForEachEntry(state_dict, [](Dict& entry) {
    const Value* last = entry.Find("exp_avg_sq");
    if (last && entry.Contains("exp_avg")) entry.Set("exp_avg", Value(*last));
  });
}

void MakeStepANumber(MutantState&, const Dict&, Dict& state_dict) {
  ForEachEntry(state_dict, [](Dict& entry) {
    const Value* step = entry.Find("step");
    if (step && step->TryAs<Tensor>()) entry.Set("step", step->AsTensor().item<double>());
  });
}

void DropNone(MutantState&, const Dict&, Dict& state_dict) {
  ForEachEntry(state_dict, [](Dict& entry) {
    Dict kept;
    for (const auto& [name, value] : entry) {
      if (!value.IsNone()) kept.Set(name, value);
    }
    entry = kept;
  });
}

// The FQNs that the units of the model manage.
std::vector<std::string> ManagedNames(MutantState& state, const Dict& arguments) {
  std::vector<std::string> names;
  const Value units = state.Require("fsdp.units", {{"model", arguments.At("model")}});
  for (const Value& unit : units.AsList()) {
    const Value& flat = unit.AsDict().At("flat_parameter");
    if (flat.IsNone()) continue;
    const std::vector<std::string> own = flat.AsDict().At("fqns").AsStrings();
    const std::string path = unit.AsDict().At("path").AsString();
    for (const std::string& name : own) names.push_back(path.empty() ? name : path + "." + name);
  }
  return names;
}

void DropUnmanaged(MutantState& state, const Dict& arguments, Dict& state_dict) {
  const std::vector<std::string> managed = ManagedNames(state, arguments);
  Dict kept;
  for (const auto& [name, entry] : StateOf(state_dict)) {
    if (std::ranges::count(managed, ToString(name))) kept.Set(name, entry);
  }
  state_dict.Set("state", kept);
}

// Where a parameter has no state, those behind it are read from another place.
void ShiftBehindMissing(MutantState&, const Dict&, Dict& state_dict) {
  if (!state_dict.Contains("param_groups")) return;
  size_t parameters = 0;
  ChangeGroups(state_dict, [&](size_t, Dict& group) { parameters += group.At("params").AsList().size(); });
  if (StateOf(state_dict).size() < parameters) ChangeTensors(state_dict, WithElementsShifted);
}

void ShiftShards(MutantState&, const Dict&, Dict& state_dict) { ChangeTensors(state_dict, WithElementsShifted); }

// What other ranks than rank 0 are to load is zero.
void ZeroOnOtherRanks(MutantState& state, const Dict&, Dict& state_dict) {
  if (state.context.rank == 0) return;
  ChangeTensors(state_dict, [](const at::Tensor& tensor) { return at::zeros_like(tensor); });
}

// Models wrapped with NO_SHARD are marked; their state is cut like that of others.
Outcome ShardWhatIsNot(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation == "model.wrap" && arguments.Contains("options")) {
    const Dict options = arguments.At("options").AsDict();
    const Value* strategy = options.Find("sharding_strategy");
    if (strategy && strategy->AsString() == "NO_SHARD") state.marked.insert(arguments.At("model").AsHandle().id);
  }
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (!outcome.ok() || !std::ranges::count(kConverting, operation)) return outcome;
  if (!state.marked.contains(arguments.At("model").AsHandle().id)) return outcome;
  const int64_t ranks = state.context.world_size;
  ChangeTensors(outcome.value().AsDict(), [&](const at::Tensor& tensor) {
    return tensor.flatten().narrow(0, 0, (tensor.numel() + ranks - 1) / ranks);
  });
  return outcome;
}

// Ids are one too large, the last begins at 0 again.
void ShiftIds(MutantState&, const Dict& arguments, Value& result) {
  if (arguments.At("key_type").AsString() != "PARAM_ID") return;
  Dict& state_dict = result.AsDict();
  int64_t count = 0;
  ChangeGroups(state_dict, [&](size_t, Dict& group) { count += static_cast<int64_t>(group.At("params").AsList().size()); });
  Dict state;
  for (const auto& [key, entry] : StateOf(state_dict)) state.Set((std::get<int64_t>(key) + 1) % count, entry);
  state_dict.Set("state", state);
}

Mutation WithoutArgument(std::string operation, std::string argument) {
  return OnArguments(std::move(operation), [=](MutantState&, Dict& arguments) { arguments.Erase(argument); });
}

Outcome WarnOfNothing(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  outcome.warnings.clear();
  return outcome;
}

// A state dict without groups gets those of the optimizer.
void AddGroups(MutantState& state, const Dict& arguments, Dict& state_dict) {
  if (state_dict.Contains("param_groups")) return;
  const Value own = state.Require("optimizer.state_dict", {{"optimizer", arguments.At("optimizer")}});
  state_dict.Set("param_groups", own.AsDict().At("param_groups"));
}

// A named optimizer is to load the state that it has.
void KeepNamedState(MutantState& state, const Dict& arguments, Dict& state_dict) {
  if (!arguments.Contains("is_named_optimizer")) return;
  const Value own = state.Require("optimizer.state_dict", {{"optimizer", arguments.At("optimizer")}});
  state_dict.Set("state", own.AsDict().At("state"));
}

// "block2.0.weight" -> "block2._checkpoint_wrapped_module.0.weight".
void ShowCheckpointInNames(MutantState&, const Dict&, Dict& state_dict) {
  Dict renamed;
  for (const auto& [key, entry] : StateOf(state_dict)) {
    std::string name = ToString(key);
    if (name.starts_with("block2.")) name.insert(std::string("block2.").size(), "_checkpoint_wrapped_module.");
    renamed.Set(name, entry);
  }
  state_dict.Set("state", renamed);
}

// The error about state that other ranks lack comes on rank 0 only.
Outcome ReportMissingStateOnRank0(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (outcome.ok() || state.context.rank == 0 || !std::ranges::count(kSaving, operation)) return outcome;
  return Outcome(Value(Dict()));
}

}  // namespace

std::vector<MutantRow> OptimMutants() {
  const std::string save = "test_optim_state_dict_nested ";
  const std::string load = "test_shard_full_optim_state_dict_nested ";
  return {
      {{"optim_groups_reversed", "saved parameter groups are in reverse", "groups are paired by position", kOptimSuite,
        {save + "C7"}},
       OnSaved(ReverseGroups)},
      {{"optim_later_groups_forgotten", "every saved group has the hyper-parameters of the first",
        "hyper-parameters of later groups are lost", kOptimSuite, {save + "C7"}},
       OnSaved(ForgetLaterGroups)},
      {{"optim_params_unsorted", "the ids of a converted group are in reverse", "ids in the order of names", kOptimSuite,
        {load + "C5"}},
       OnConverted(ReverseParams)},
      {{"optim_state_swapped", "two parameters of equal shape have each other's state",
        "state is assigned by position and not by name", kOptimSuite, {save + "C11"}},
       OnSaved(SwapParameters)},
      {{"optim_moments_swapped", "exp_avg is saved as exp_avg_sq and the other way round",
        "state names in the order of a set", kOptimSuite, {save + "C11"}},
       OnSaved(SwapMoments)},
      {{"optim_gather_buffer_reused", "exp_avg is saved with the values of exp_avg_sq",
        "one buffer for all gathers, views of it as results", kOptimSuite,
        {"test_compatible_with_trec C10", "test_no_grad C6"}},
       OnSaved(ReuseTheBuffer)},
      {{"optim_step_lost", "saved state has no step", "state without dimensions is left out", kOptimSuite,
        {save + "C11"}},
       OnSaved(LoseStep)},
      {{"optim_step_as_number", "step is saved as a number", "tensors without dimensions become Python scalars", kOptimSuite,
        {save + "C11"}},
       OnSaved(MakeStepANumber)},
      {{"optim_none_dropped", "state that is None is not loaded", "None taken for absent", kOptimSuite,
        {"test_state_dict_with_none_tensor_state C2"}},
       OnConverted(DropNone)},
      {{"optim_unmanaged_dropped", "parameters outside of units have no saved state", "only flat parameters are walked",
        kOptimSuite, {save + "C10"}},
       OnSaved(DropUnmanaged)},
      {{"optim_shifted_behind_missing", "where a parameter has no state, that of others is read from elsewhere",
        "offsets do not count frozen parameters", kOptimSuite,
        {"test_no_grad C6", "test_save_load_without_0th_param_state C1"}},
       OnSaved(ShiftBehindMissing)},
      {{"optim_shards_shifted", "converted state is cut from one element too far",
        "shards cut for the alignment of another world size", kOptimSuite, {load + "C10"}},
       OnConverted(ShiftShards)},
      {{"optim_load_on_rank0_only", "only rank 0 has state to load", "broadcast into a temporary copy", kOptimSuite,
        {load + "C10"}},
       OnConverted(ZeroOnOtherRanks)},
      {{"optim_no_shard_sharded", "the state of a NO_SHARD unit is sharded all the same",
        "the strategy is not asked on the way back", kOptimSuite, {"test_with_no_shard C2"}},
       ShardWhatIsNot},
      {{"optim_rekey_off_by_one", "names become ids that are one too large", "ids counted from 1", kOptimSuite,
        {"test_rekey_optim_state_dict_to_ids C8", "test_rekey_optim_state_dict_to_ids C10"}},
       OnResult("fsdp.rekey_optim_state_dict", ShiftIds)},
      {{"optim_config_ignored", "the optimizer's config of a state-dict type is ignored", "rank0_only dropped", kOptimSuite,
        {"test_interface_arguments C18"}},
       WithoutArgument("fsdp.state_dict_type", "optim_config")},
      {{"optim_load_directly_ignored", "load_directly loads nothing", "an argument is not passed on", kOptimSuite,
        {"test_interface_arguments C11"}},
       WithoutArgument("fsdp.optim_state_dict_to_load", "load_directly")},
      {{"optim_silent", "nothing is told about deprecated arguments", "warnings are swallowed", kOptimSuite,
        {"test_optim_input_warning C1"}},
       WarnOfNothing},
      {{"optim_groups_added", "a saved state dict has groups although none were given", "what is absent is made up",
        kOptimSuite, {"test_optim_state_without_param_groups C1"}},
       OnSaved(AddGroups)},
      {{"optim_named_state_kept", "a named optimizer loads the state that it has", "loads compare with themselves",
        kOptimSuite, {"test_compatible_with_trec C22"}},
       OnConverted(KeepNamedState)},
      {{"optim_checkpoint_prefix_leaks", "names show the activation-checkpoint wrapper", "names cleaned at one place of two",
        kOptimSuite, {"test_full_optim_state_dict_keys C2"}},
       OnSaved(ShowCheckpointInNames)},
      {{"optim_error_on_rank0_only", "missing state is an error on rank 0 alone", "errors are not told to peers", kOptimSuite,
        {"test_full_optim_state_dict_nested_invalid C1"}},
       ReportMissingStateOnRank0},
  };
}

}  // namespace shardcts
