// Mutants of the rules of geometry (suites/extended): each is killed by the tests of one rule alone.
#include <ATen/ATen.h>

#include <algorithm>

#include "contract/parts.h"
#include "mutants/rule_mutant.h"

namespace shardcts {
namespace {

// The DTensors of what dsd.get_model_state_dict returns.
Mutation OnSavedDTensors(std::function<void(MutantState&, DTensor&)> change) {
  return OnResult("dsd.get_model_state_dict", [=](MutantState& state, const Dict&, Value& result) {
    for (auto& [name, value] : result.AsDict()) {
      if (DTensor* dtensor = value.TryAs<DTensor>()) change(state, *dtensor);
    }
  });
}

Mutation OnShardedTensors(std::function<void(MutantState&, ShardedTensor&)> change) {
  return OnStateDict([=](MutantState& state, const Handle&, Dict& entries) {
    for (auto& [name, value] : entries) {
      if (ShardedTensor* sharded = value.TryAs<ShardedTensor>()) change(state, *sharded);
    }
  });
}

at::Tensor FullOf(MutantState& state, const DTensor& tensor) {
  return state.Require("tensor.full", {{"value", tensor}}).AsTensor().detach();
}

// n rows over w ranks as n / w each and one more for the first n % w.
void BalanceShards(MutantState& state, ShardedTensor& tensor) {
  const at::Tensor full = state.Require("sharded.gather", {{"value", tensor}}).AsTensor();
  const int64_t ranks = static_cast<int64_t>(tensor.ranks.size()), n = tensor.shape[0];
  const std::string device = tensor.metadata.front().device;
  tensor.metadata.clear();
  tensor.local_shards.clear();
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const int64_t begin = rank * (n / ranks) + std::min(rank, n % ranks), rows = n / ranks + (rank < n % ranks);
    if (rows == 0) continue;
    ShardMetadata shard{std::vector<int64_t>(tensor.shape.size()), tensor.shape, tensor.ranks[rank], device};
    shard.offsets[0] = begin;
    shard.sizes[0] = rows;
    tensor.metadata.push_back(shard);
    if (tensor.ranks[rank] == state.context.rank) tensor.local_shards = {{shard, full.narrow(0, begin, rows).clone()}};
  }
}

void RecordPadding(MutantState&, ShardedTensor& tensor) {
  const int64_t ranks = static_cast<int64_t>(tensor.ranks.size());
  for (ShardMetadata& shard : tensor.metadata) shard.sizes[0] = (tensor.shape[0] + ranks - 1) / ranks;
}

void TakeLocalForGlobal(MutantState&, DTensor& tensor) {
  if (tensor.placements != std::vector{Placement::Shard(0)}) return;
  tensor.shape[0] = tensor.local.size(0) * tensor.mesh.shape[0];
}

void KeepPaddingRows(MutantState& state, const Dict&, Value& result) {
  if (result.type() != Value::Type::kDict) return;
  for (auto& [name, value] : result.AsDict()) {
    const at::Tensor full = value.AsTensor();
    const int64_t rest = full.size(0) % state.context.world_size;
    if (rest == 0) continue;
    std::vector<int64_t> padding = full.sizes().vec();
    padding[0] = state.context.world_size - rest;
    value = at::cat({full, at::zeros(padding, full.options())});
  }
}

// The memory of the local part read with the strides of the whole tensor.
void ReadWithWholeStrides(MutantState&, DTensor& tensor) {
  const bool other_dim = std::ranges::any_of(tensor.placements, [](const Placement& placement) {
    return placement.IsShard() && placement.dim > 0;
  });
  if (!other_dim) return;
  const at::Tensor memory = at::cat({tensor.local.detach().flatten(), tensor.local.new_zeros(c10::multiply_integers(tensor.shape))});
  tensor.local = memory.as_strided(tensor.local.sizes(), tensor.stride).clone();
}

Outcome RefuseOnRank0Only(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  const bool refused = operation == "model.wrap" && !outcome.ok() && outcome.error().kind == "NotImplementedError";
  return refused && state.context.rank > 0 ? Outcome(Value()) : outcome;
}

// Data parallel splits first, tensor parallel each part; the placements say the opposite.
void SplitInOtherOrder(MutantState& state, const Handle&, Dict& entries) {
  for (auto& [name, value] : entries) {
    DTensor* tensor = value.TryAs<DTensor>();
    if (!tensor || tensor->placements.size() != 2 || tensor->placements[0].kind != Placement::Kind::kStridedShard) continue;
    const at::Tensor full = FullOf(state, *tensor);
    const int64_t inner = tensor->mesh.shape[1];
    const auto chunk = [](int64_t n, int64_t parts, int64_t index) {
      const int64_t rows = (n + parts - 1) / parts;
      return std::pair(std::min(index * rows, n), std::min((index + 1) * rows, n));
    };
    const auto outer = chunk(full.size(0), tensor->mesh.shape[0], state.context.rank / inner);
    const auto own = chunk(outer.second - outer.first, inner, state.context.rank % inner);
    tensor->local = full.narrow(0, outer.first + own.first, own.second - own.first).clone();
  }
}

void ForgetStride(MutantState&, DTensor& tensor) {
  for (Placement& placement : tensor.placements) {
    if (placement.kind == Placement::Kind::kStridedShard) placement = Placement::Shard(placement.dim);
  }
}

void RollSecondReplica(MutantState& state, const Handle&, Dict& entries) {
  for (auto& [name, value] : entries) {
    DTensor* tensor = value.TryAs<DTensor>();
    if (!tensor || tensor->placements.front() != Placement::Replicate()) continue;
    const at::Tensor rolled = at::roll(FullOf(state, *tensor), 1, 0);
    const auto coordinate = tensor->mesh.Coordinate(state.context.rank);
    if ((*coordinate)[0] == 0) continue;
    tensor->local = LocalSlice(rolled, tensor->mesh, tensor->placements, state.context.rank).clone();
  }
}

// A sum over complete storages, whose weight is 0.
void AddPadding(MutantState& state, const Dict& arguments, Value& result) {
  const Value parameters = state.Require("model.parameters", {{"model", arguments.At("model")}});
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (const auto& [name, parameter] : parameters.AsDict()) {
    const DTensor* dtensor = parameter.TryAs<DTensor>();
    const at::Tensor local = (dtensor ? dtensor->local : parameter.AsTensor()).detach();
    const int64_t elements = static_cast<int64_t>(local.storage().nbytes() / local.element_size());
    sum = sum + local.as_strided({elements}, {1}, 0).sum().to(at::kDouble);
  }
  for (auto& [name, value] : result.AsDict()) {
    if (value.type() == Value::Type::kTensor) value = value.AsTensor() + (sum * 0).to(value.AsTensor().scalar_type());
  }
}

void ShiftUnaligned(MutantState&, const Handle&, Dict& entries) {
  for (auto& [name, value] : entries) {
    if (value.type() != Value::Type::kTensor) continue;
    const at::Tensor tensor = value.AsTensor();
    if (tensor.numel() % 4 != 0) value = at::roll(tensor.detach(), 1);
  }
}

void DropEmpty(MutantState&, const Dict&, Value& result) {
  Dict kept;
  for (const auto& [name, value] : result.AsDict()) {
    if (value.type() != Value::Type::kTensor || value.AsTensor().numel() > 0) kept.Set(name, value);
  }
  result = kept;
}

void ShowScalarsAsVectors(MutantState&, const Dict&, Value& result) {
  for (auto& [name, value] : result.AsDict()) {
    if (value.type() == Value::Type::kTensor && value.AsTensor().dim() == 0) value = value.AsTensor().reshape({1});
  }
}

// Of a mesh with a dimension of size 1 the first placement is lost, and the others move up.
void LosePlacement(MutantState&, const Handle&, Dict& entries) {
  for (auto& [name, value] : entries) {
    DTensor* tensor = value.TryAs<DTensor>();
    if (!tensor || tensor->placements.size() < 2 || !std::ranges::count(tensor->mesh.shape, 1)) continue;
    std::ranges::reverse(tensor->placements);
  }
}

}  // namespace

std::vector<MutantRow> RuleGeometryMutants() {
  return {
      RuleMutant("GE1", "sharded_tensor_balanced", "ShardedTensors are split evenly instead of in ceil-sized chunks",
                 "balanced split instead of ceil chunks", OnShardedTensors(BalanceShards), 3),
      RuleMutant("GE2", "metadata_counts_padding", "the metadata of a shard has the padded number of rows",
                 "padding shard runs past the end", OnShardedTensors(RecordPadding)),
      RuleMutant("GE3", "dsd_global_shape_from_local", "the global size is the local size times the number of ranks",
                 "DTensor built from the local part", OnSavedDTensors(TakeLocalForGlobal), 3),
      RuleMutant("GE4", "sharded_gather_keeps_padding", "a gathered ShardedTensor has the padding rows at its end",
                 "gather keeps padding rows", OnResult("sharded.gather", KeepPaddingRows), 3),
      RuleMutant("GE5", "local_part_has_whole_strides", "the local part is read with the strides of the whole tensor",
                 "strides of another tensor", OnDTensors(ReadWithWholeStrides), 2),
      RuleMutant("GE6", "uneven_dim_refused_on_rank0", "only rank 0 refuses a dimension that does not divide",
                 "errors on one rank only", RefuseOnRank0Only, 2),
      RuleMutant("GE7", "data_parallel_splits_first", "rows are split over data parallel ranks before tensor parallel ones",
                 "rows are permuted", OnStateDict(SplitInOtherOrder), 4),
      RuleMutant("GE8", "dsd_stride_dropped", "saved entries are labelled Shard(0), Shard(0)",
                 "chunk offset ignores the stride", OnSavedDTensors(ForgetStride), 4),
      RuleMutant("GE9", "second_replica_rolled", "replica 1 is cut from a rolled tensor", "replicas differ",
                 OnStateDict(RollSecondReplica), 4),
      RuleMutant("GE10", "padding_is_read", "a full state dict adds the padding with weight 0",
                 "offset table counts padding", OnResult("dsd.get_model_state_dict", AddPadding), 2),
      RuleMutant("GE11", "unaligned_members_shifted", "members whose size leaves an alignment gap are shifted by one",
                 "gaps counted for some members only", OnStateDict(ShiftUnaligned), 3),
      RuleMutant("GE12", "empty_parameters_dropped", "parameters without elements are not saved",
                 "empty taken for absent", OnResult("dsd.get_model_state_dict", DropEmpty), 2),
      RuleMutant("GE13", "scalars_become_vectors", "what has no dimensions is saved with one", "scalars reshaped",
                 OnResult("dsd.get_model_state_dict", ShowScalarsAsVectors)),
      RuleMutant("GE14", "placement_of_size_1_lost", "a mesh dimension of size 1 loses its placement",
                 "special case of one rank", OnStateDict(LosePlacement), 2),
  };
}

}  // namespace shardcts
