// Mutants of the distributed state-dict API: names, options that say nothing, what a load leaves out.
#include <ATen/ATen.h>

#include <algorithm>
#include <memory>

#include "mutants/mutate.h"

namespace shardcts {
namespace {

const std::vector<std::string> kDsdSuites = {"state_dict"};

// Changes what two of the operations return: the one of one kind, and that member of what dsd.get_state_dict returns.
Mutation OnSavedPart(std::string operation, std::string member, StateDictChange change) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (!outcome.ok()) return outcome;
    if (called == operation) change(state, arguments, outcome.value().AsDict());
    if (called == "dsd.get_state_dict") change(state, arguments, outcome.value().AsDict().Find(member)->AsDict());
    return outcome;
  };
}

Mutation OnSavedModel(StateDictChange change) {
  return OnSavedPart("dsd.get_model_state_dict", "model", std::move(change));
}

// Flat and empty state dicts stay.
Mutation OnSavedOptimizer(StateDictChange change) {
  return OnSavedPart("dsd.get_optimizer_state_dict", "optimizer",
                     [=](MutantState& state, const Dict& arguments, Dict& state_dict) {
                       if (state_dict.Contains("state")) change(state, arguments, state_dict);
                     });
}

// All operations of the API get this option.
Mutation WithOption(std::string option, Value value) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called.starts_with("dsd.")) {
      Dict options = arguments.Contains("options") ? arguments.At("options").AsDict() : Dict();
      options.Set(option, value);
      arguments.Set("options", options);
    }
    return state.inner.Invoke(called, arguments);
  };
}

// Operations whose names start so get the default of this option.
Mutation WithoutOption(std::string operations, std::string option) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called.starts_with(operations)) EraseIn(arguments, "options", option);
    return state.inner.Invoke(called, arguments);
  };
}

Mutation Skipped(std::string operation) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    return called == operation ? Outcome(Value()) : state.inner.Invoke(called, arguments);
  };
}

// "u1.l1.weight" -> "u1._checkpoint_wrapped_module.l1.weight"
void ShowCheckpointWrapper(MutantState&, const Dict&, Dict& state_dict) {
  Dict renamed;
  for (const auto& [key, value] : state_dict) {
    std::string name = ToString(key);
    if (name.starts_with("u1.")) name.insert(3, "_checkpoint_wrapped_module.");
    renamed.Set(name, value);
  }
  state_dict = renamed;
}

// Rows of each rank of a tensor that is sharded evenly on a 1-D mesh; 0: it is something else.
int64_t RowsOfEachRank(const DTensor& tensor) {
  if (tensor.placements != std::vector{Placement::Shard(0)}) return 0;
  return tensor.shape[0] % tensor.mesh.shape[0] == 0 ? tensor.shape[0] / tensor.mesh.shape[0] : 0;
}

// Gives the DTensors of a state dict the rank's rows of the whole tensor rolled by so many ranks' rows.
void CutAgain(MutantState& state, Dict& state_dict, int64_t ranks) {
  for (auto& [name, value] : state_dict) {
    const int64_t rows = value.type() == Value::Type::kDTensor ? RowsOfEachRank(value.AsDTensor()) : 0;
    if (rows == 0) continue;
    const Value whole = state.Require("tensor.full", {{"value", value}});
    const at::Tensor rolled = at::roll(whole.AsTensor().detach(), ranks * rows, 0);
    value.AsDTensor().local = rolled.narrow(0, state.context.rank * rows, rows).clone();
  }
}

// Every rank saves the rows of the next one. Gathering and loading turn them back, so nothing that the implementation
// makes of its own state dict is wrong.
Mutation RotateShardsAndBack() {
  const Mutation gather = OnFullTensors([](const DTensor& tensor, Value& full) {
    if (const int64_t rows = RowsOfEachRank(tensor)) full = at::roll(full.AsTensor().detach(), rows, 0);
  });
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    if (operation == "tensor.full") return gather(state, operation, arguments);
    if (operation == "dsd.set_model_state_dict") {
      Dict state_dict = arguments.At("state_dict").AsDict();
      CutAgain(state, state_dict, 1);
      arguments.Set("state_dict", state_dict);
    }
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (outcome.ok() && operation == "dsd.get_model_state_dict") CutAgain(state, outcome.value().AsDict(), -1);
    return outcome;
  };
}

// Of tensors that are one only the first name is saved.
void DropTiedNames(MutantState&, const Dict&, Dict& state_dict) {
  if (state_dict.Contains("embedding.weight")) state_dict.Erase("decoder.weight");
}

void DropExtraState(MutantState&, const Dict&, Dict& state_dict) {
  Dict kept;
  for (const auto& [key, value] : state_dict) {
    if (!ToString(key).ends_with("_extra_state")) kept.Set(key, value);
  }
  state_dict = kept;
}

void AddEveryBuffer(MutantState& state, const Dict& arguments, Dict& state_dict) {
  const Value buffers = state.Require("model.buffers", {{"model", arguments.At("model")}});
  for (const auto& [name, value] : buffers.AsDict()) state_dict.Set(name, value);
}

// The state of parameters that were never stepped but once, without effect, is left out.
void DropInitialState(MutantState&, const Dict&, Dict& state_dict) {
  Dict kept;
  for (const auto& [name, entry] : state_dict.At("state").AsDict()) {
    const Value* step = entry.AsDict().Find("step");
    if (!step || step->AsTensor().item<double>() != 1) kept.Set(name, entry);
  }
  state_dict.Set("state", kept);
}

void ChangeEachGroup(Dict& state_dict, const std::function<void(const Dict& first, Dict& group)>& change) {
  Value* groups = state_dict.Find("param_groups");
  if (!groups) return;
  List changed = groups->AsList();
  for (Value& group : changed) change(groups->AsList().front().AsDict(), group.AsDict());
  *groups = Value(std::move(changed));
}

void AddEmptyState(Dict& state_dict) {
  if (!state_dict.Contains("state")) return;  // flat, or of a rank that has none
  Dict state = state_dict.At("state").AsDict();
  for (const Value& group : state_dict.At("param_groups").AsList()) {
    for (const Value& param : group.AsDict().At("params").AsList()) {
      const Key key = param.type() == Value::Type::kInt ? Key(param.AsInt()) : Key(param.AsString());
      if (!state.Contains(key)) state.Set(key, Dict());
    }
  }
  state_dict.Set("state", state);
}

// In what is saved, and in the optimizer's own state dict.
Outcome GiveEmptyState(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (!outcome.ok()) return outcome;
  if (operation == "optimizer.state_dict" || operation == "dsd.get_optimizer_state_dict") {
    AddEmptyState(outcome.value().AsDict());
  }
  if (operation == "dsd.get_state_dict") AddEmptyState(outcome.value().AsDict().Find("optimizer")->AsDict());
  return outcome;
}

void ReverseSavedParams(MutantState&, const Dict&, Dict& state_dict) {
  ChangeEachGroup(state_dict, [](const Dict&, Dict& group) {
    List params = group.At("params").AsList();
    std::ranges::reverse(params);
    group.Set("params", params);
  });
}

void UseOptionsOfFirstGroup(MutantState&, const Dict&, Dict& state_dict) {
  ChangeEachGroup(state_dict, [](const Dict& first, Dict& group) {
    const Value params = group.At("params");
    group = first;
    group.Set("params", params);
  });
}

// What is loaded into an optimizer, before it gets there.
Mutation OnLoadedOptimizer(std::function<void(Dict& state_dict)> change) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called == "dsd.set_optimizer_state_dict") {
      Dict state_dict = arguments.At("state_dict").AsDict();
      change(state_dict);
      arguments.Set("state_dict", state_dict);
    }
    return state.inner.Invoke(called, arguments);
  };
}

void DropInitialLr(Dict& state_dict) {
  ChangeEachGroup(state_dict, [](const Dict&, Dict& group) { group.Erase("initial_lr"); });
}

Outcome RefuseIds(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation == "dsd.set_optimizer_state_dict") {
    const Dict state_dict = arguments.At("state_dict").AsDict();
    const Value* entries = state_dict.Find("state");
    if (entries && !entries->AsDict().empty() && std::holds_alternative<int64_t>(entries->AsDict().begin()->key)) {
      return Error{"KeyError", "0"};
    }
  }
  return state.inner.Invoke(operation, arguments);
}

// What rank 0 broadcasts reaches no other rank's parameters.
Outcome BroadcastToNobody(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (operation != "dsd.set_model_state_dict" || !outcome.ok() || state.context.rank == 0) return outcome;
  const Dict options = arguments.Contains("options") ? arguments.At("options").AsDict() : Dict();
  if (options.Contains("broadcast_from_rank0")) {
    state.Require("model.fill", {{"model", arguments.At("model")}, {"value", 0.0}});
  }
  return outcome;
}

// As shards do that are views of the whole tensors that they were cut from.
Mutation KeepWholeTensors() {
  const auto kept = std::make_shared<std::vector<at::Tensor>>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called == "implementation.reset") kept->clear();
    if (called == "dsd.set_model_state_dict") {
      for (const auto& [name, value] : arguments.At("state_dict").AsDict()) {
        if (value.type() == Value::Type::kTensor) kept->push_back(value.AsTensor().clone());
      }
    }
    return state.inner.Invoke(called, arguments);
  };
}

void ForgetMissingNames(MutantState&, const Dict&, Value& result) { result.AsDict().Set("missing_keys", List{}); }

Outcome WithoutWarnings(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  outcome.warnings.clear();
  return outcome;
}

std::vector<MutantRow> SavingMutants() {
  return {
      {{"dsd_checkpoint_prefix_leaks", "names show the activation-checkpoint wrapper",
        "names cleaned of some wrappers only", kDsdSuites, {"test_activation_ckpt_fqns_ddp C1"}},
       OnSavedModel(ShowCheckpointWrapper)},
      {{"dsd_tied_name_dropped", "a tied parameter is saved under its first name only", "names by identity", kDsdSuites,
        {"test_shared_weight C2", "test_shared_weight C3"}},
       OnSavedModel(DropTiedNames)},
      {{"dsd_extra_state_dropped", "extra state is not saved", "only tensors are walked", kDsdSuites,
        {"test_extra_state C2"}},
       OnSavedModel(DropExtraState)},
      {{"dsd_all_buffers_saved", "buffers that are not persistent are saved", "all buffers are walked", kDsdSuites,
        {"test_non_persistent_buffers C1"}},
       OnSavedModel(AddEveryBuffer)},
      {{"dsd_moments_swapped", "exp_avg is saved as exp_avg_sq and the other way round",
        "state names in the order of a set", kDsdSuites, {"test_fsdp2 C12", "test_broadcast_from_rank0 C2"}},
       OnSavedOptimizer(SwapMoments)},
      {{"dsd_step_lost", "saved state has no step", "state without dimensions is left out", kDsdSuites,
        {"test_fsdp2 C10", "test_broadcast_from_rank0 C2"}},
       OnSavedOptimizer(LoseStep)},
      {{"dsd_initial_state_missing", "an optimizer that never stepped is saved without state",
        "state is not initialized before it is saved", kDsdSuites,
        {"test_fsdp_root_not_initialized C2", "test_no_dist C5"}},
       OnSavedOptimizer(DropInitialState)},
      {{"dsd_stateless_is_empty", "a parameter without state has an empty one", "absent taken for empty",
        {"state_dict", "fsdp_optim_state"}, {"test_ddp C8", "test_fsdp C8", "test_state_dict_with_none_tensor_state C3"}},
       GiveEmptyState},
      {{"dsd_shards_rotated", "each rank saves the rows of the next one; gathering and loading turn them back",
        "a layout that is split and gathered wrongly in the same way", kDsdSuites,
        {"test_fsdp_root_not_initialized C1"}},
       RotateShardsAndBack()},
      {{"dsd_params_reversed", "the parameters of a saved group are in reverse", "names in the order of a set",
        kDsdSuites, {"test_fsdp2 C15"}},
       OnSavedOptimizer(ReverseSavedParams)},
      {{"dsd_later_groups_forgotten", "every saved group has the options of the first",
        "options of later groups are lost", kDsdSuites, {"test_multi_param_groups C1", "test_multi_param_groups C3"}},
       OnSavedOptimizer(UseOptionsOfFirstGroup)},
  };
}

std::vector<MutantRow> OptionMutants() {
  return {
      {{"dsd_cpu_offload_ignored", "every rank has the whole state dict although cpu_offload is given",
        "an option is not passed on", kDsdSuites, {"test_cpu_offload_full_state_dict C7"}},
       WithoutOption("dsd.get", "cpu_offload")},
      {{"dsd_frozen_kept", "ignore_frozen_params ignores nothing", "an option is not passed on", kDsdSuites,
        {"test_fsdp2 C50"}},
       WithoutOption("dsd.get", "ignore_frozen_params")},
      {{"dsd_flatten_ignored", "optimizer state is never flat", "an option is not passed on", kDsdSuites,
        {"test_flattened_osd C1"}},
       WithoutOption("dsd.get", "flatten_optimizer_state_dict")},
      {{"dsd_prefixes_kept", "names of a submodule keep its prefix", "an option is not passed on", kDsdSuites,
        {"test_deprecate_api C4"}},
       WithoutOption("dsd.get", "keep_submodule_prefixes")},
      {{"dsd_never_strict", "loads are never strict", "strict is not passed on", kDsdSuites,
        {"test_strict C1", "test_strict C5"}},
       WithOption("strict", false)},
      {{"dsd_modifiers_ignored", "what modules say about their names is not asked for", "renaming hooks unknown",
        kDsdSuites, {"test_state_dict_with_hook_on_keys C2"}},
       WithOption("dsd_fqn_modifiers", "_not_there")},
  };
}

std::vector<MutantRow> SettingMutants() {
  return {
      {{"dsd_missing_names_unreported", "a load that is not strict says that no name is missing", "strictness is wrong",
        kDsdSuites, {"test_strict C2"}},
       OnResult("dsd.set_model_state_dict", ForgetMissingNames)},
      {{"dsd_model_not_loaded", "the model keeps its values", "a load into a temporary copy", kDsdSuites,
        {"test_fsdp2 C23", "test_extra_state C2"}},
       [](MutantState& state, std::string_view called, Dict& arguments) {
         if (called != "dsd.set_model_state_dict") return state.inner.Invoke(called, arguments);
         return Outcome(Value(Dict{{"missing_keys", List{}}, {"unexpected_keys", List{}}}));
       }},
      {{"dsd_optimizer_not_loaded", "the optimizers keep their state", "loads compare with themselves", kDsdSuites,
        {"test_fsdp2 C28", "test_broadcast_from_rank0 C8"}},
       Skipped("dsd.set_optimizer_state_dict")},
      {{"dsd_patch_ignored", "a patched optimizer saves its state by ids", "a method replaced on the wrong object",
        kDsdSuites, {"test_fsdp2 C42", "test_fsdp2 C34"}},
       Skipped("dsd.patch_optimizer_state_dict")},
      {{"dsd_broadcast_to_nobody", "other ranks than rank 0 get zeros", "broadcast into a temporary copy",
        {"state_dict", "extended"},
        {"test_broadcast_from_rank0 C7", "test_set_cpu_model_state_dict_broadcast_from_rank0 C3", "RK5 RK5"}},
       BroadcastToNobody},
      {{"dsd_whole_tensors_kept", "the whole tensors that a load cuts its shards from stay in memory",
        "shards are views of whole tensors", kDsdSuites,
        {"test_setting_meta_device_model_broadcasting_and_memory C3",
         "test_setting_meta_device_model_broadcasting_and_memory C4"}},
       KeepWholeTensors()},
      {{"dsd_group_entries_dropped", "entries that the loading group lacks are lost", "only known options are copied",
        kDsdSuites, {"test_optim_state_dict_param_matching C4"}},
       OnLoadedOptimizer(DropInitialLr)},
      {{"dsd_ids_refused", "state by ids cannot be loaded", "every key is taken for a name", kDsdSuites,
        {"test_no_dist C7"}},
       RefuseIds},
      {{"dsd_silent", "nothing is told about deprecated arguments", "warnings are swallowed", kDsdSuites,
        {"test_deprecate_api C1", "test_deprecate_api C10"}},
       WithoutWarnings},
  };
}

}  // namespace

std::vector<MutantRow> DsdMutants() {
  std::vector<MutantRow> rows = SavingMutants();
  for (const auto& more : {OptionMutants(), SettingMutants()}) rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

}  // namespace shardcts
