// Mutants of the ports of PyTorch's tests of checkpoints: what their operations can get wrong.
#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>

#include "mutants/checkpoints.h"

namespace shardcts {
namespace {

MutantRow PortRow(std::string name, std::string description, std::string models, std::vector<std::string> checks,
                  Mutation mutation, int min_world_size = 1) {
  return {{std::move(name), std::move(description), std::move(models), {"dcp"}, std::move(checks), min_world_size},
          std::move(mutation)};
}

// Nothing is done, and what would be loaded is given back as it was.
Mutation LeaveOut(const std::string& wanted) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    if (operation != wanted) return state.inner.Invoke(operation, arguments);
    return Value(Dict{{"state_dict", arguments.At("state_dict")}});
  };
}

Mutation WithoutArgument(const std::string& operation, const std::string& name) {
  return OnArguments(operation, [name](MutantState&, Dict& arguments) { arguments.Erase(name); });
}

// Rank 0 writes everything.
void FirstRankWrites(MutantState&, const Dict&, Value& plan) {
  for (auto& [name, rows] : plan.AsDict().Find("chunks")->AsDict()) {
    at::Tensor table = rows.AsTensor().clone();
    table.select(1, 0).zero_();
    rows = table;
  }
}

void NothingIsReused(MutantState&, const Dict&, Value& plan) {
  List none(plan.AsDict().At("reused").AsList().size(), Value(false));
  plan.AsDict().Set("reused", none);
}

void AllIsReused(MutantState&, const Dict& arguments, Value& plan) {
  if (!arguments.Contains("series")) return;
  List all(plan.AsDict().At("reused").AsList().size(), Value(true));
  plan.AsDict().Set("reused", all);
}

// Reads begin where the saved chunk does.
void ReadFromBegin(MutantState&, const Dict& arguments, Value& reads) {
  for (Value& read : *reads.TryAs<List>()) {
    const auto saved = static_cast<size_t>(read.AsDict().At("saved").AsInt());
    read.AsDict().Set("offsets", arguments.At("saved").AsList().at(saved).AsDict().At("offsets"));
  }
}

// What is refused is one element.
Outcome RunsAreNotChecked(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (operation == "storage.contiguous_run" && !outcome.ok()) return Value(int64_t{1});
  return outcome;
}

void OneElementMore(MutantState&, const Dict&, Value& run) { run = run.AsInt() + 1; }

void ShiftedColumns(MutantState&, const Dict&, Value& whole) { whole = at::roll(whole.AsTensor(), 1, 1); }

void FirstNameLost(MutantState&, const Dict&, Value& loaded) {
  Dict rest;
  for (const auto& [name, value] : loaded.AsDict()) {
    if (name != loaded.AsDict().begin()->key) rest.Set(name, value);
  }
  loaded = rest;
}

void FlatDoubles(MutantState&, const Dict&, Value& loaded) {
  ForEachLocal(loaded, [](at::Tensor& local) { local = local.to(at::kDouble).flatten(); });
}

// Of two files each has what the other should have.
void OtherFiles(MutantState&, Dict& arguments) {
  for (auto& [name, number] : arguments.Find("files")->AsDict()) number = 3 - number.AsInt();
}

// The mutants of consolidation and of the arithmetic of its copies.
std::vector<MutantRow> ConsolidationMutants() {
  return {
      PortRow("storage_blocks_ignored", "quantized weights are loaded as they are stored", "factors that nobody reads",
              {"test_quantized_checkpoint_loading C4"},
              WithoutArgument("storage.load", "block_size")),
      PortRow("storage_first_name_lost", "a load leaves the first name out", "an index counted from one",
              {"test_quantized_checkpoint_loading C1"}, OnLoadedDict(FirstNameLost)),
      PortRow("storage_flat_doubles", "loaded tensors have one dimension and another dtype",
              "memory without its layout",
              {"test_quantized_checkpoint_loading C2", "test_quantized_checkpoint_loading C3"},
              OnLoadedDict(FlatDoubles)),
      PortRow("storage_runs_not_checked", "a run of what is impossible is one element", "arguments that nobody checks",
              {"test_calculate_max_contiguous_elements_validations C1",
               "test_calculate_max_contiguous_elements_validations C2",
               "test_calculate_max_contiguous_elements_validations C3",
               "test_calculate_max_contiguous_elements_validations C4"},
              RunsAreNotChecked),
      PortRow("storage_runs_too_long", "a run has an element more", "an end that is counted",
              {"test_calculate_max_contiguous_elements_valid_cases C1",
               "test_calculate_max_contiguous_elements_valid_cases C8"},
              OnResult("storage.contiguous_run", OneElementMore)),
      PortRow("storage_part_shifted", "a part is placed a column further", "an offset counted from one",
              {"test_write_sub_tensor_to_file_optimized C1", "test_write_sub_tensor_to_file_optimized C2"},
              OnResult("storage.place_part", ShiftedColumns)),
      PortRow("storage_files_of_other_ranks", "consolidated files have each other's tensors", "files numbered by rank",
              {"test_consolidate_with_two_ranks C1", "test_consolidate_with_two_ranks C3",
               "test_consolidate_with_two_ranks C7"},
              OnArguments("storage.consolidate_on_every_rank", OtherFiles), 4),
  };
}

// A state dict without entries is refused.
Mutation RefuseEmpty(const std::string& wanted) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    const bool is_empty = operation == wanted && arguments.At("state_dict").AsDict().size() == 0;
    if (is_empty) return Error{"CheckpointException", "nothing to do"};
    return state.inner.Invoke(operation, arguments);
  };
}

// What is loaded is in new memory.
void InNewMemory(MutantState&, const Dict&, Value& loaded) {
  ForEachLocal(loaded, [](at::Tensor& local) { local = local.clone(); });
}

void RowsSwapped(MutantState&, const Dict&, Value& loaded) {
  ForEachLocal(loaded, [](at::Tensor& local) { local = local.dim() > 0 ? local.flip(0) : local + 1; });
}

// The local shards of ShardedTensors, and numbers, have other values.
void OtherOptimizerState(MutantState&, const Dict&, Value& loaded) {
  ForEachLeaf(loaded, [](Value& leaf) {
    if (auto* sharded = leaf.TryAs<ShardedTensor>()) {
      for (LocalShard& shard : sharded->local_shards) shard.tensor = shard.tensor + 1;
    } else if (at::Tensor* local = LocalOf(leaf)) {
      *local = *local + 1;
    }
  });
}

// The state of the optimizer that is asked second: without the first parameter, and with plain tensors.
void PlainAfterLoad(MutantState& state, const Dict&, Value& result) {
  if (state.marked.insert(0).second) return;
  FirstNameLost(state, {}, *result.AsDict().Find("state"));
  ForEachLeaf(result, [](Value& leaf) {
    if (auto* sharded = leaf.TryAs<ShardedTensor>(); sharded && !sharded->local_shards.empty()) {
      leaf = at::Tensor(sharded->local_shards.front().tensor);
    }
  });
}

// The first distributed tensor of the model is left out.
void FirstDTensorLost(MutantState& state, const Dict&, Value& result) {
  Value* model = result.AsDict().Find("model");
  Value& entries = model ? *model : result;
  const bool is_distributed = entries.AsDict().size() > 0 && entries.AsDict().begin()->value.TryAs<DTensor>();
  if (is_distributed) FirstNameLost(state, {}, entries);
}

void FirstOfModelLost(MutantState& state, const Dict&, Value& read) {
  if (Value* model = read.AsDict().Find("model")) FirstNameLost(state, {}, *model);
}

// The mutants of what trainings go on from.
std::vector<MutantRow> TrainingMutants() {
  return {
      PortRow("storage_empty_refused", "a state dict without entries is refused", "a plan without items taken for none",
              {"test_no_dist C1"}, RefuseEmpty("storage.save")),
      PortRow("storage_empty_load_refused", "a load into a state dict without entries is refused",
              "a plan without items taken for none", {"test_no_dist C2"}, RefuseEmpty("storage.load")),
      PortRow("storage_always_overwrites", "overwrite=false is ignored", "a class of bugs", {"test_overwrite C2"},
              WithoutArgument("storage.save", "overwrite")),
      PortRow("storage_loaded_into_copies", "a load gives new tensors", "a state dict that is replaced",
              {"test_init_state_dict C1", "test_init_state_dict C2"}, OnLoadedDict(InNewMemory)),
      PortRow("storage_whole_rows_swapped", "what is read as a whole has its rows in another order", "lost offsets",
              {"test_partial_load C6", "test_partial_load C8"}, OnReadDict(RowsSwapped)),
      PortRow("storage_read_keys_ignored", "a read gives everything, whatever its keys are", "prefixes that nobody compares",
              {"test_partial_load C4", "test_partial_load C7"},
              WithoutArgument("storage.read", "keys")),
      PortRow("storage_optimizer_others", "an optimizer's state that is loaded has other values", "a class of bugs",
              {"test_load_sharded_optimizer_state_dict C4", "test_load_sharded_optimizer_state_dict C5"},
              OnResult("storage.load_optimizer", OtherOptimizerState), 4),
      PortRow("optimizer_plain_after_load", "the second state of an optimizer lacks a parameter and has plain tensors",
              "a layout that is not kept",
              {"test_load_sharded_optimizer_state_dict C2", "test_load_sharded_optimizer_state_dict C3"},
              OnResult("fsdp.optim_state_dict", PlainAfterLoad), 4),
      PortRow("optimizer_made_with_state", "a new optimizer has state", "a step that nobody asked for",
              {"test_load_sharded_optimizer_state_dict C1"},
              OnResult("optimizer.create",
                       [](MutantState& state, const Dict&, Value& optimizer) {
                         state.Require("optimizer.init_state", {{"optimizer", optimizer}});
                       }),
              4),
      PortRow("dsd_first_dtensor_lost", "the model's state dict lacks its first distributed tensor",
              "an index counted from one", {"test_partial_load C1", "test_partial_load C2"},
              OnResult("dsd.get_model_state_dict", FirstDTensorLost), 4),
      PortRow("dsd_first_dtensor_of_both_lost", "the state dict of both lacks the model's first distributed tensor",
              "an index counted from one", {"test_e2e C4", "test_e2e C5"},
              OnResult("dsd.get_state_dict", FirstDTensorLost), 4),
      PortRow("storage_first_of_model_unread", "what is read lacks the model's first tensor",
              "an index counted from one",
              {"test_partial_load C4", "test_partial_load C5"}, OnReadDict(FirstOfModelLost), 4),
      PortRow("dsd_another_lr_set", "the state of both is set with another learning rate", "options of the constructor",
              {"test_init_state_dict C4", "test_init_state_dict C5"},
              OnArguments("dsd.set_state_dict",
                          [](MutantState&, Dict& arguments) {
                            Dict& optimizer = arguments.Find("optimizer_state_dict")->AsDict();
                            for (Value& group : *optimizer.Find("param_groups")->TryAs<List>()) {
                              group.AsDict().Set("lr", 0.9);
                            }
                          })),
  };
}

// Numbers, texts and lists are lost when a file becomes a checkpoint.
void OnlyTensorsConverted(MutantState& state, Dict& arguments) {
  if (arguments.At("to").AsString() == "torch_save") return;
  const Value read = state.Require("storage.read", {{"path", arguments.At("target")}});
  Dict kept;
  for (const auto& [name, value] : read.AsDict()) {
    if (value.TryAs<Dict>() || value.TryAs<Tensor>()) kept.Set(name, value);
  }
  state.Require("storage.save", {{"state_dict", kept}, {"path", arguments.At("target")}, {"distributed", false}});
}

}  // namespace

std::vector<MutantRow> CheckpointPortMutants() {
  std::vector<MutantRow> rows{
      PortRow("storage_load_left_out", "a load changes nothing", "a load that only reads metadata",
              {"test_read_write_only_tensor C4", "test_tp_checkpoint C2", "test_hsdp_checkpoint C8", "test_e2e C1",
               "test_e2e C2", "test_e2e C6", "test_e2e C7", "test_e2e_async_cached C1", "test_partial_load C3",
               "test_stateful_and_non_stateful_loads C3", "test_overwrite C1",
               "test_different_ordered_state_dict_keys C1", "test_init_state_dict C5"},
              LeaveOut("storage.load")),
      PortRow("storage_file_left_out", "a load from a file of torch.save changes nothing", "a reader that only plans",
              {"test_dcp_to_torch_save C1", "test_online_torch_save_to_dcp C1"}, LeaveOut("storage.load_file")),
      PortRow("storage_file_rows_swapped", "what is converted has its rows in another order", "a converted layout",
              {"test_torch_save_to_dcp C1"},
              After("storage.convert",
                    [](MutantState& state, Dict& arguments) {
                      if (arguments.At("to").AsString() == "torch_save") return;
                      Value read = state.Require("storage.read", {{"path", arguments.At("target")}});
                      ForEachLocal(read, [](at::Tensor& local) { local = local.flip(0); });
                      state.Require("storage.save", {{"state_dict", read}, {"path", arguments.At("target")}});
                    })),
      PortRow("storage_first_rank_plans", "the first rank writes what others hold", "ranks of a group taken for one",
              {"test_local_plan C2", "test_global_plan C2"}, OnResult("storage.plan_save", FirstRankWrites)),
      PortRow("storage_plans_not_kept", "plans of a series are made anew", "a cache whose keys differ",
              {"test_local_plan_with_caching C2", "test_merge_delta_local_plans C12", "test_compare_save_plans C2"},
              OnResult("storage.plan_save", NothingIsReused)),
      PortRow("storage_stale_plans", "a plan is said to be the last one whatever has changed", "a cache without a key",
              {"test_global_plan_with_caching C4", "test_compare_save_plans C1"},
              OnResult("storage.plan_save", AllIsReused)),
      PortRow("storage_reads_from_begin", "reads begin at the first element of the saved chunk", "lost offsets",
              {"test_load_with_resharding C4", "test_create_read_item_from_chunks C2"},
              OnResult("storage.plan_reads", ReadFromBegin)),
      PortRow("storage_failures_ignored", "a step that fails on a rank is not noticed", "errors that nobody collects",
              {"test_save_error_handling C1", "test_load_error_handling_no_dist C2"},
              OnArguments("storage.fail_at", [](MutantState&, Dict& arguments) { arguments.Set("ranks", List{}); })),
      PortRow(
          "storage_failure_blames_all", "an error is said to be every rank's", "errors without their rank",
          {"test_save_error_handling C2"},
          [](MutantState& state, std::string_view operation, Dict& arguments) {
            Outcome outcome = state.inner.Invoke(operation, arguments);
            if (operation != "storage.save" || outcome.ok()) return outcome;
            Error error = outcome.error();
            for (int rank = 0; rank < 4; ++rank)
              error.message += "; rank " + std::to_string(rank) + ": ValueError: too";
            return Outcome(error);
          },
          4),
      PortRow("storage_version_of_others", "a checkpoint says another version than it is written with",
              "a stale constant", {"test_version_key_in_planner_data C1"},
              OnResult("storage.describe",
                       [](MutantState&, const Dict&, Value& described) { described.AsDict().Set("version", "0"); })),
      PortRow("storage_chunks_merged", "a tensor is described as one chunk", "metadata of the first rank",
              {"test_default_metadata C12"},
              OnResult("storage.describe",
                       [](MutantState&, const Dict&, Value& described) {
                         for (auto& [name, entry] : described.AsDict().Find("keys")->AsDict()) {
                           Value* chunks = entry.AsDict().Find("chunks");
                           if (chunks) chunks->TryAs<List>()->resize(1);
                         }
                       }),
              2),
  };
  std::ranges::move(ConsolidationMutants(), std::back_inserter(rows));
  std::ranges::move(TrainingMutants(), std::back_inserter(rows));
  rows.push_back(StorageRule("FM5", "storage_values_lost_in_conversion", "only tensors of a file get into a checkpoint",
                             "a converter of weights", After("storage.convert", OnlyTensorsConverted)));
  return rows;
}

}  // namespace shardcts
