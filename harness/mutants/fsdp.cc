// Mutants of FSDP1: wrapping options that are ignored, state-dict types and their configs, what the shards of a flat
// parameter turn into.
#include <ATen/ATen.h>

#include <algorithm>

#include "mutants/mutate.h"

namespace shardcts {
namespace {

const std::vector<std::string> kFsdpSuite = {"fsdp_state_dict"};

// Changes the arguments of one operation.
// A wrapping option of fsdp is not passed on.
Mutation WithoutOption(std::string option) {
  return OnArguments("model.wrap", [=](MutantState&, Dict& arguments) {
    if (arguments.At("wrapper").AsString() == "fsdp") EraseIn(arguments, "options", option);
  });
}

// A field of the state-dict config is not passed on.
Mutation WithoutConfig(std::string field) {
  return OnArguments("fsdp.state_dict_type", [=](MutantState&, Dict& arguments) {
    EraseIn(arguments, "config", field);
  });
}

using TensorChange = std::function<at::Tensor(const at::Tensor&)>;

void ChangeWhole(Dict& entries, const TensorChange& change) {
  for (auto& [key, value] : entries) {
    if (Tensor* tensor = value.TryAs<Tensor>()) tensor->data = change(tensor->data.detach());
  }
}

// The local shards of every ShardedTensor.
void ChangeShards(Dict& entries, const TensorChange& change) {
  for (auto& [key, value] : entries) {
    ShardedTensor* sharded = value.TryAs<ShardedTensor>();
    if (!sharded) continue;
    for (LocalShard& shard : sharded->local_shards) shard.tensor = change(shard.tensor.detach());
  }
}

void ChangeAll(Dict& entries, const TensorChange& change) {
  ChangeWhole(entries, change);
  ChangeShards(entries, change);
}

Mutation OnWholeTensors(TensorChange change) {
  return OnStateDict([=](MutantState&, const Handle&, Dict& entries) { ChangeWhole(entries, change); });
}

Mutation OnShards(TensorChange change) {
  return OnStateDict([=](MutantState&, const Handle&, Dict& entries) { ChangeShards(entries, change); });
}

at::Tensor WithARowOfPadding(const at::Tensor& tensor) {
  return tensor.dim() < 2 ? tensor : at::cat({tensor, at::zeros_like(tensor.narrow(0, 0, 1))});
}

at::Tensor ShiftedByOne(const at::Tensor& tensor) { return tensor.flatten().roll(1).view_as(tensor); }

at::Tensor AsHalf(const at::Tensor& tensor) { return tensor.is_floating_point() ? tensor.to(at::kHalf) : tensor; }

// With the digits that float16 keeps, in the original dtype.
at::Tensor RoundedToHalf(const at::Tensor& tensor) { return AsHalf(tensor).to(tensor.scalar_type()); }

void HalveBuffers(MutantState& state, const Handle& model, Dict& entries) {
  const Value buffers = state.Require("model.buffers", {{"model", model}});
  for (auto& [key, value] : entries) {
    Tensor* tensor = value.TryAs<Tensor>();
    if (tensor && buffers.AsDict().Contains(ToString(key))) tensor->data = AsHalf(tensor->data);
  }
}

// Of several buffers the last one only is loaded: the others keep their values.
void KeepAllBuffersButTheLast(MutantState& state, Dict& arguments) {
  const Value buffers = state.Require("model.buffers", {{"model", arguments.At("model")}});
  Dict loaded = arguments.At("state_dict").AsDict();
  const auto last = buffers.AsDict().empty() ? buffers.AsDict().end() : std::prev(buffers.AsDict().end());
  for (auto entry = buffers.AsDict().begin(); entry != last; ++entry) {
    if (loaded.Contains(ToString(entry->key))) loaded.Set(ToString(entry->key), entry->value);
  }
  arguments.Set("state_dict", loaded);
}

bool IsConstant(const at::Tensor& tensor) { return tensor.eq(tensor.flatten()[0]).all().item<bool>(); }

// Whether it is the other name of a tensor that is there: equal, and not by filling.
bool IsAlias(const Dict& entries, const at::Tensor& tensor) {
  if (tensor.numel() < 2 || IsConstant(tensor)) return false;
  return std::ranges::any_of(entries, [&](const Dict::Entry& entry) {
    const Tensor* other = entry.value.TryAs<Tensor>();
    return other && other->data.sizes() == tensor.sizes() && at::equal(other->data, tensor);
  });
}

void DropAliases(MutantState&, const Handle&, Dict& entries) {
  Dict kept;
  for (const auto& [key, value] : entries) {
    const Tensor* tensor = value.TryAs<Tensor>();
    if (!tensor || !IsAlias(kept, tensor->data)) kept.Set(key, value);
  }
  entries = kept;
}

// "linear.weight" -> "_checkpoint_wrapped_module.linear.weight", in a model with a checkpoint wrapper.
void LeakCheckpointPrefix(MutantState& state, const Handle& model, Dict& entries) {
  const Value modules = state.Require("model.modules", {{"model", model}});
  const bool checkpointed = std::ranges::any_of(modules.AsList(), [](const Value& module) {
    const std::vector<std::string> wrappers = module.AsDict().At("wrappers").AsStrings();
    return std::ranges::count(wrappers, "checkpoint") > 0;
  });
  if (!checkpointed) return;
  Dict renamed;
  for (const auto& [key, value] : entries) renamed.Set("_checkpoint_wrapped_module." + ToString(key), value);
  entries = renamed;
}

// Strips the wrapper's prefix at the first level only.
void LeakNestedPrefix(MutantState&, const Handle&, Dict& entries) {
  Dict renamed;
  for (const auto& [key, value] : entries) {
    std::string name = ToString(key);
    if (const size_t dot = name.find('.'); dot != name.npos && !name.ends_with("_flat_param")) {
      name.insert(dot + 1, "_fsdp_wrapped_module.");
    }
    renamed.Set(name, value);
  }
  entries = renamed;
}

void ShowPrefixInUnexpected(MutantState&, const Dict&, Value& result) {
  List keys;
  for (const std::string& key : result.AsDict().At("unexpected_keys").AsStrings()) {
    keys.push_back("_fsdp_wrapped_module." + key);
  }
  result.AsDict().Set("unexpected_keys", keys);
}

void GiveEmptyRanksAnElement(MutantState& state, const Handle&, Dict& entries) {
  for (auto& [key, value] : entries) {
    ShardedTensor* sharded = value.TryAs<ShardedTensor>();
    if (!sharded || !sharded->local_shards.empty()) continue;
    sharded->local_shards.push_back(
        {{{sharded->shape.at(0)}, {1}, state.context.rank, "cpu"}, at::zeros({1}, sharded->dtype)});
  }
}

// The end of a scope leaves the type that was set in it, when `also_when_it_returned` or its body has raised.
Mutation LeaveType(bool also_when_it_returned) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    if (operation == "scope.exit" && state.marked.contains(arguments.At("scope").AsHandle().id)) {
      const bool raised = arguments.Contains("raised") && arguments.At("raised").AsBool();
      if (raised || also_when_it_returned) return Outcome(Value());
    }
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation == "fsdp.state_dict_type" && outcome.ok()) state.marked.insert(outcome.value().AsHandle().id);
    return outcome;
  };
}

void LosePrecision(MutantState&, const Dict&, Value& result) { ChangeAll(result.AsDict(), RoundedToHalf); }

// What other ranks than rank 0 load is zero.
void LoadOnRank0Only(MutantState& state, Dict& arguments) {
  if (state.context.rank == 0) return;
  Dict zeros = arguments.At("state_dict").AsDict();
  ChangeAll(zeros, [](const at::Tensor& tensor) { return at::zeros_like(tensor); });
  arguments.Set("state_dict", zeros);
}

void WriteNothingBack(MutantState&, Dict& arguments) { arguments.Set("writeback", false); }

}  // namespace

std::vector<MutantRow> FsdpMutants() {
  return {
      {{"fsdp_prefix_leaks_nested",
        "the wrapper's prefix is stripped at the first level only",
        "wrapper prefix leaks at a nested level",
        kFsdpSuite,
        {"test_fsdp_state_dict_keys C3", "test_fsdp_state_dict_keys C2"}},
       OnStateDict(LeakNestedPrefix)},
      {{"checkpoint_prefix_leaks",
        "keys show the activation-checkpoint wrapper",
        "checkpoint-wrapper prefix stripped only at the root",
        kFsdpSuite,
        {"test_state_dict_with_manual_ac_wrapper C3", "test_fsdp_state_dict_with_activation_checkpoint C1"}},
       OnStateDict(LeakCheckpointPrefix)},
      {{"unexpected_keys_uncleaned",
        "unexpected keys are reported with the wrapper's prefix",
        "names are cleaned on one of two ways",
        kFsdpSuite,
        {"test_full_state_dict_missing_unexpected_keys_cleaned C5"}},
       OnResult("model.load_state_dict", ShowPrefixInUnexpected)},
      {{"full_alias_dropped",
        "a tied parameter is saved under its first name only",
        "alias names are missing",
        kFsdpSuite,
        {"test_state_dict_with_shared_parameters C1", "test_shared_module_and_shared_parameter C1"}},
       OnStateDict(DropAliases)},
      {{"full_keeps_padding",
        "whole tensors keep a row of padding",
        "gather keeps padding rows",
        kFsdpSuite,
        {"test_basic_save_and_load_state_dict C11", "test_basic_save_and_load_state_dict C12"}},
       OnWholeTensors(WithARowOfPadding)},
      {{"full_shifted_by_padding",
        "whole tensors are read from one element too far",
        "offsets count padding that is not there",
        kFsdpSuite,
        {"test_basic_save_and_load_state_dict C13"}},
       OnWholeTensors(ShiftedByOne)},
      {{"shards_shifted_by_padding",
        "shards are cut from one element too far",
        "offsets count padding that is not there",
        kFsdpSuite,
        {"test_basic_save_and_load_state_dict C13"}},
       OnShards(ShiftedByOne)},
      {{"full_in_compute_dtype",
        "a full state dict is in the dtype of mixed precision",
        "the low-precision copy is saved",
        kFsdpSuite,
        {"test_save_and_load_after_forward_state_dict C9"}},
       OnWholeTensors(AsHalf)},
      {{"full_rounded",
        "values pass through float16 on their way",
        "communication dtype used for state dicts",
        kFsdpSuite,
        {"test_basic_save_and_load_state_dict C13"}},
       OnWholeTensors(RoundedToHalf)},
      {{"half_buffers_saved",
        "buffers are saved in float16",
        "buffers are not cast back to their original dtype",
        kFsdpSuite,
        {"test_buffers_save_and_load_state_dict C1", "test_state_dict_with_ignored_modules C5"}},
       OnStateDict(HalveBuffers)},
      {{"stale_buffers",
        "a load restores the last buffer only",
        "stale loop variable: one of several buffers is restored",
        kFsdpSuite,
        {"test_buffers_save_and_load_state_dict C14"}},
       OnArguments("model.load_state_dict", KeepAllBuffersButTheLast)},
      {{"rank0_only_ignored",
        "rank0_only: every rank gets the state dict",
        "rank0_only dropped",
        kFsdpSuite,
        {"test_basic_save_and_load_state_dict C5"}},
       WithoutConfig("rank0_only")},
      {{"type_left_on_exception",
        "a scope whose body raises leaves its state-dict type behind",
        "state-dict type not restored",
        kFsdpSuite,
        {"test_state_dict_type C1"}},
       LeaveType(false)},
      {{"type_never_restored",
        "a scope leaves its state-dict type behind",
        "state-dict type not restored",
        kFsdpSuite,
        {"test_state_dict_type C1"}},
       LeaveType(true)},
      {{"wrong_config_accepted",
        "a config of another type is taken for the right one",
        "errors for wrong configs are missing",
        kFsdpSuite,
        {"test_wrong_state_dict_config C1"}},
       WithoutConfig("class")},
      {{"ignored_modules_included",
        "ignored modules are flattened like others",
        "ignored modules included",
        kFsdpSuite,
        {"test_state_dict_with_ignored_modules C3", "test_state_dict_with_ignored_modules C9"}},
       WithoutOption("ignored_modules")},
      {{"sync_module_states_ignored",
        "wrapping broadcasts nothing from rank 0",
        "broadcast into a temporary copy",
        kFsdpSuite,
        {"test_state_dict_rank0_offload_save_load_flow C7"}},
       WithoutOption("sync_module_states")},
      {{"process_group_ignored",
        "units shard over all ranks whatever the group",
        "custom group not forwarded",
        kFsdpSuite,
        {"test_world_size_one C1", "test_world_size_one C2", "test_local_state_dict_reshard C5"}},
       WithoutOption("process_group")},
      {{"empty_rank_gets_an_element",
        "a rank without a shard saves an element of padding",
        "ranks whose shard is all padding",
        kFsdpSuite,
        {"test_local_state_dict_with_empty_ranks C2"}},
       OnStateDict(GiveEmptyRanksAnElement)},
      {{"file_loses_precision",
        "what is read from a file has been rounded",
        "writer and reader disagree on the dtype",
        kFsdpSuite,
        {"test_torch_save_load C3", "test_torch_save_load C4"}},
       OnResult("state.deserialize", LosePrecision)},
      {{"fsdp_load_on_rank0_only",
        "only rank 0 loads",
        "broadcast into a temporary copy",
        kFsdpSuite,
        {"test_basic_save_and_load_state_dict C13"}},
       OnArguments("model.load_state_dict", LoadOnRank0Only)},
      {{"summon_writes_nothing_back",
        "values set inside summon_full_params are lost",
        "writeback ignored",
        kFsdpSuite,
        {"test_local_state_dict_with_empty_ranks C6", "test_state_dict_rank0_offload_save_load_flow C4",
         "test_state_dict_skip_module C4"}},
       OnArguments("fsdp.summon_full_params", WriteNothingBack)},
  };
}

}  // namespace shardcts
