// Mutants of layout: shapes, placements, chunks, the order of gathering.
#include <ATen/ATen.h>

#include <algorithm>

#include "mutants/mutate.h"

namespace shardcts {
namespace {

void MakePlain(MutantState&, const Handle&, Dict& entries) {
  for (auto& [key, value] : entries) {
    if (const DTensor* dtensor = value.TryAs<DTensor>()) value = Tensor{dtensor->local, dtensor->is_parameter};
  }
}

void DropStride(MutantState&, DTensor& value) {
  for (Placement& placement : value.placements) {
    if (placement.kind == Placement::Kind::kStridedShard) placement = Placement::Shard(placement.dim);
  }
}

// On a 1-D mesh: global size = local size * ranks.
void GuessGlobalShape(MutantState&, DTensor& value) {
  if (value.placements.size() != 1 || !value.placements[0].IsShard()) return;
  const int64_t dim = value.placements[0].dim;
  value.shape[dim] = value.local.size(dim) * value.mesh.shape[0];
}

void ForgetParameter(MutantState&, DTensor& value) { value.is_parameter = false; }

void SwapMeshNames(MutantState&, DTensor& value) {
  std::ranges::reverse(value.mesh.dim_names);
  if (value.mesh.dim_names.empty()) value.mesh.dim_names = {"unnamed"};
}

void KeepPadding(const DTensor& value, Value& result) {
  if (value.placements.size() != 1 || !value.placements[0].IsShard()) return;
  const int64_t dim = value.placements[0].dim;
  const int64_t ranks = value.mesh.shape[0];
  std::vector<int64_t> padding = value.shape;
  padding[dim] = (value.shape[dim] + ranks - 1) / ranks * ranks - value.shape[dim];
  const at::Tensor& full = result.AsTensor();
  result = at::cat({full, at::zeros(padding, full.options())}, dim);
}

// Puts the first rank's rows last.
void RotateRanks(const DTensor& value, Value& result) {
  for (size_t d = 0; d < value.placements.size(); ++d) {
    if (!value.placements[d].IsShard()) continue;
    const int64_t dim = value.placements[d].dim;
    const int64_t rows = (value.shape[dim] + value.mesh.shape[d] - 1) / value.mesh.shape[d];
    result = at::roll(result.AsTensor(), -rows, dim);
    return;
  }
}

// Splits n rows over w ranks as n / w each and one more for the first n % w, on 1-D meshes.
void BalanceRows(MutantState& state, const Handle&, Dict& entries) {
  for (auto& [key, value] : entries) {
    const DTensor* dtensor = value.TryAs<DTensor>();
    if (!dtensor || dtensor->placements.size() != 1 || dtensor->placements[0] != Placement::Shard(0)) continue;
    const int64_t ranks = dtensor->mesh.shape[0];
    const int64_t rank = state.context.rank;
    const int64_t each = dtensor->shape[0] / ranks;
    const int64_t more = dtensor->shape[0] % ranks;
    const Value full = state.Require("tensor.full", {{"value", value}});
    DTensor balanced = *dtensor;
    balanced.local = full.AsTensor().narrow(0, rank * each + std::min(rank, more), each + (rank < more)).clone();
    value = balanced;
  }
}

// After a forward, state dicts hold what the forward has left: unsharded parameters.
Outcome SaveUnsharded(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (!outcome.ok()) return outcome;
  if (operation == "model.forward") state.marked.insert(arguments.At("model").AsHandle().id);
  if (operation != "model.state_dict" || !state.marked.contains(arguments.At("model").AsHandle().id)) return outcome;
  for (auto& [key, value] : outcome.value().AsDict()) {
    if (value.type() == Value::Type::kDTensor) value = state.Require("tensor.full", {{"value", value}});
  }
  return outcome;
}

}  // namespace

std::vector<MutantRow> LayoutMutants() {
  return {
      {{"state_dict_plain_tensors",
        "state dicts hold local tensors without mesh and placements",
        "DTensor built from the local part",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C6", "test_2d_state_dict_correctness C1"}},
       OnStateDict(MakePlain)},
      {{"strided_placement_dropped",
        "FSDP on TP on one dim is labelled Shard(0), Shard(0)",
        "rows are permuted",
        kFullyShardSuite,
        {"test_2d_state_dict_correctness C2"}},
       OnDTensors(DropStride)},
      {{"global_shape_from_local",
        "the global size is the local size times the number of ranks",
        "uneven shards get a wrong global size",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C3"}},
       OnDTensors(GuessGlobalShape)},
      {{"parameters_become_tensors",
        "sharded parameters are no parameters any more",
        "state_dict replaces parameters",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C4"}},
       OnDTensors(ForgetParameter)},
      {{"mesh_names_swapped",
        "the tensors' mesh has its dimension names in the wrong order",
        "wrong mesh dimension",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C6"}},
       OnDTensors(SwapMeshNames)},
      {{"full_tensor_keeps_padding",
        "a gathered tensor has the padding rows at its end",
        "gather keeps padding rows",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C12"}},
       OnFullTensors(KeepPadding)},
      {{"full_tensor_rotated",
        "ranks are gathered in the wrong order",
        "gather order",
        kFullyShardSuite,
        {"test_2d_state_dict_correctness C2", "test_rank0_offload_full_state_dict C5"}},
       OnFullTensors(RotateRanks)},
      {{"balanced_split",
        "rows are split evenly instead of in ceil-sized chunks",
        "balanced split instead of ceil chunks",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C8"},
        3},  // two parts of ceil-sized chunks are balanced ones
       OnStateDict(BalanceRows)},
      {{"save_leaves_unsharded",
        "state_dict after a forward does not reshard",
        "the save hook is missing",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C16"}},
       SaveUnsharded},
  };
}

}  // namespace shardcts
