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

// Of two files each has what the other should have.
void OtherFiles(MutantState&, Dict& arguments) {
  for (auto& [name, number] : arguments.Find("files")->AsDict()) number = 3 - number.AsInt();
}

// The mutants of consolidation and of the arithmetic of its copies.
std::vector<MutantRow> ConsolidationMutants() {
  return {
      PortRow("storage_blocks_ignored", "quantized weights are loaded as they are stored", "factors that nobody reads",
              {"test_quantized_checkpoint_loading C4"},
              OnArguments("storage.load",
                          [](MutantState&, Dict& arguments) { arguments.Set("block_size", Value()); })),
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

}  // namespace

std::vector<MutantRow> CheckpointPortMutants() {
  std::vector<MutantRow> rows{
      PortRow("storage_load_left_out", "a load changes nothing", "a load that only reads metadata",
              {"test_read_write_only_tensor C4", "test_tp_checkpoint C2", "test_hsdp_checkpoint C8"},
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
  return rows;
}

}  // namespace shardcts
