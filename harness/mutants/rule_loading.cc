// Mutants of the rules of loading (suites/extended): what is wrong is taken, and what is missing is made up.
#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

#include <algorithm>

#include "mutants/rule_mutant.h"

namespace shardcts {
namespace {

constexpr const char* kLoadModel = "model.load_state_dict";
constexpr const char* kSetModel = "dsd.set_model_state_dict";
constexpr const char* kSetOptimizer = "dsd.set_optimizer_state_dict";

bool LoadsModel(std::string_view operation) { return operation == kLoadModel || operation == kSetModel; }

Dict GivenOptions(const Dict& arguments) {
  const Value* options = arguments.Find("options");
  return options ? options->AsDict() : Dict();
}

bool IsOptionOn(const Dict& arguments, const char* name) {
  const Dict options = GivenOptions(arguments);
  const Value* option = options.Find(name);
  return option && option->AsBool();
}

bool IsStrict(const Dict& arguments) {
  const Dict options = GivenOptions(arguments);
  const Value* option = options.Find("strict");
  if (!option) option = arguments.Find("strict");
  return !option || option->AsBool();
}

// Changes what is to be loaded into a model.
Mutation OnModelLoads(std::function<void(MutantState& state, std::string_view operation, Dict& arguments, Dict& entries)> change) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    if (LoadsModel(operation)) {
      Dict entries = arguments.At("state_dict").AsDict();
      change(state, operation, arguments, entries);
      arguments.Set("state_dict", entries);
    }
    return state.inner.Invoke(operation, arguments);
  };
}

std::vector<int64_t> WholeShapeOf(const Value& value) {
  if (const auto* distributed = value.TryAs<DTensor>()) return distributed->shape;
  const auto* plain = value.TryAs<Tensor>();
  return plain ? plain->data.sizes().vec() : std::vector<int64_t>();
}

Dict RegisteredOf(MutantState& state, const Dict& arguments) {
  return state.Require("model.parameters", {{"model", arguments.At("model")}}).AsDict();
}

// A plain tensor is spread over this shape where it can be.
void SpreadOver(const std::vector<int64_t>& shape, Value& value) {
  const auto* plain = value.TryAs<Tensor>();
  if (!plain || plain->data.sizes() == at::IntArrayRef(shape)) return;
  if (at::is_expandable_to(plain->data.sizes(), shape)) value = plain->data.expand(shape).contiguous();
}

void SpreadEntries(MutantState& state, std::string_view, Dict& arguments, Dict& entries) {
  const Dict parameters = RegisteredOf(state, arguments);
  for (auto& [name, value] : entries) {
    if (const Value* parameter = parameters.Find(name)) SpreadOver(WholeShapeOf(*parameter), value);
  }
}

void SpreadMoments(MutantState& state, Dict& arguments) {
  Dict state_dict = arguments.At("state_dict").AsDict();
  const Dict parameters = RegisteredOf(state, arguments);
  Value* states = state_dict.Find("state");
  if (!states) return;
  for (auto& [name, of_parameter] : states->AsDict()) {
    const Value* parameter = parameters.Find(name);
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      Value* value = of_parameter.AsDict().Find(moment);
      if (parameter && value) SpreadOver(WholeShapeOf(*parameter), *value);
    }
  }
  arguments.Set("state_dict", state_dict);
}

// What the model itself would give to this load.
Dict OwnEntries(MutantState& state, std::string_view operation, const Dict& arguments) {
  if (operation == kLoadModel) return state.Require("model.state_dict", {{"model", arguments.At("model")}}).AsDict();
  const Dict options{{"full_state_dict", IsOptionOn(arguments, "full_state_dict")}};
  return state.Require("dsd.get_model_state_dict", {{"model", arguments.At("model")}, {"options", options}}).AsDict();
}

void FillIn(MutantState& state, std::string_view operation, Dict& arguments, Dict& entries) {
  if (!IsStrict(arguments)) return;
  const Dict own = OwnEntries(state, operation, arguments);
  if (entries.empty() && IsOptionOn(arguments, "broadcast_from_rank0")) return;
  for (const auto& [name, value] : own) {
    if (!entries.Contains(name)) entries.Set(name, value);
  }
}

Value NothingToReport() { return Dict{{"missing_keys", List{}}, {"unexpected_keys", List{}}}; }

// Ranks that give nothing do not hear of unexpected names.
Outcome TellRank0(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (operation != kSetModel || state.context.rank == 0 || !IsOptionOn(arguments, "broadcast_from_rank0")) return outcome;
  if (!outcome.ok()) {
    const bool is_about_names = outcome.error().message.find("Unexpected key") != std::string::npos;
    return is_about_names ? Outcome(NothingToReport()) : outcome;
  }
  outcome.value().AsDict().Set("unexpected_keys", List{});
  return outcome;
}

Outcome LookExtraNamesUp(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation == kSetModel && IsOptionOn(arguments, "cpu_offload") && !IsStrict(arguments)) {
    const Dict parameters = RegisteredOf(state, arguments);
    for (const auto& [name, value] : arguments.At("state_dict").AsDict()) {
      if (!parameters.Contains(name)) return Error{"KeyError", "'" + ToString(name) + "'"};
    }
  }
  return state.inner.Invoke(operation, arguments);
}

Outcome ZeroTheRest(MutantState& state, std::string_view operation, Dict& arguments) {
  const Outcome outcome = state.inner.Invoke(operation, arguments);
  if (!outcome.ok() || !LoadsModel(operation) || IsStrict(arguments)) return outcome;
  const Dict parameters = RegisteredOf(state, arguments);
  for (const std::string& name : outcome.value().AsDict().At("missing_keys").AsStrings()) {
    const Value* value = parameters.Find(name);
    if (value) state.Require("tensor.fill", {{"value", *value}, {"scalar", 0.0}});
  }
  return outcome;
}

// Without strict, state that is missing becomes zero.
void ZeroMissingState(MutantState& state, Dict& arguments) {
  if (IsStrict(arguments)) return;
  const Dict options{{"full_state_dict", IsOptionOn(arguments, "full_state_dict")}};
  const Dict own = state.Require("dsd.get_optimizer_state_dict", {{"model", arguments.At("model")},
                                                                   {"optimizers", arguments.At("optimizers")},
                                                                   {"options", options}}).AsDict();
  Dict state_dict = arguments.At("state_dict").AsDict();
  Value* states = state_dict.Find("state");
  if (!states) return;
  for (const auto& [name, value] : own.At("state").AsDict()) {
    if (states->AsDict().Contains(name)) continue;
    const Value zero = state.Require("tensor.clone", {{"value", value}});
    state.Require("tensor.fill", {{"value", zero}, {"scalar", 0.0}});
    states->AsDict().Set(name, zero);
  }
  arguments.Set("state_dict", state_dict);
}

// The i-th entry goes to the i-th name.
void PairByPosition(MutantState& state, std::string_view, Dict& arguments, Dict& entries) {
  const Dict parameters = RegisteredOf(state, arguments);
  const bool has_all = entries.size() == parameters.size() &&
                       std::ranges::all_of(parameters, [&](const auto& one) { return entries.Contains(one.key); });
  if (!has_all) return;
  Dict paired;
  auto entry = entries.begin();
  for (const auto& [name, value] : parameters) paired.Set(name, (entry++)->value);
  entries = paired;
}

at::Tensor InBfloat16(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kFloat ? tensor.to(at::kBFloat16).to(at::kFloat) : tensor;
}

// The second load into a model rounds.
void RoundSecondLoad(MutantState& state, std::string_view, Dict& arguments, Dict& entries) {
  if (state.marked.insert(arguments.At("model").AsHandle().id).second) return;
  for (auto& [name, value] : entries) {
    if (const auto* plain = value.TryAs<Tensor>()) {
      value = InBfloat16(plain->data);
    } else if (auto* distributed = value.TryAs<DTensor>()) {
      distributed->local = InBfloat16(distributed->local);
    } else if (auto* sharded = value.TryAs<ShardedTensor>()) {
      for (LocalShard& shard : sharded->local_shards) shard.tensor = InBfloat16(shard.tensor);
    }
  }
}

// FSDP1 with FULL set: pieces are gathered and taken.
void TakePiecesAsWhole(MutantState& state, std::string_view operation, Dict& arguments, Dict& entries) {
  if (operation != kLoadModel) return;
  for (auto& [name, value] : entries) {
    if (!value.TryAs<ShardedTensor>() || ToString(name).ends_with("_flat_param")) continue;
    const Value type = state.Require("fsdp.get_state_dict_type", {{"model", arguments.At("model")}});
    if (type.AsDict().At("type").AsString() != "FULL") return;
    value = state.Require("sharded.gather", {{"value", value}});
  }
}

// After a load that failed the last rank has the first element of an entry of another shape everywhere.
Outcome KeepBadEntryOnOneRank(MutantState& state, std::string_view operation, Dict& arguments) {
  const Outcome outcome = state.inner.Invoke(operation, arguments);
  const bool is_last = state.context.rank == state.context.world_size - 1;
  if (outcome.ok() || operation != kSetModel || !is_last) return outcome;
  const Dict entries = arguments.At("state_dict").AsDict();
  for (const auto& [name, parameter] : RegisteredOf(state, arguments)) {
    const Value* entry = entries.Find(name);
    if (!entry || WholeShapeOf(*entry) == WholeShapeOf(parameter)) continue;
    state.Require("tensor.fill", {{"value", parameter}, {"scalar", -3.0}});
  }
  return outcome;
}

}  // namespace

std::vector<MutantRow> RuleLoadingMutants() {
  return {
      RuleMutant("LO1", "load_spreads_parameters", "a tensor that can be spread over a parameter is",
                 "wall-x#114: copy_ broadcasts", OnModelLoads(SpreadEntries)),
      RuleMutant("LO2", "load_spreads_moments", "a moment that can be spread over a parameter's shape is",
                 "shapes of optimizer state not compared", OnArguments(kSetOptimizer, SpreadMoments)),
      RuleMutant("LO3", "load_fills_in", "under strict a missing name is filled in with the model's own value",
                 "the local state dict as default", OnModelLoads(FillIn)),
      RuleMutant("LO4", "load_tells_rank_0", "an unexpected name in a broadcast load is told to rank 0 only",
                 "names compared where they were given", TellRank0, 2),
      RuleMutant("LO5", "load_looks_extra_names_up", "with cpu_offload and without strict an unexpected name is a KeyError",
                 "pytorch#149516", LookExtraNamesUp),
      RuleMutant("LO7", "load_zeroes_the_rest", "without strict, parameters that are missing become 0",
                 "a load into new tensors", ZeroTheRest),
      RuleMutant("LO8", "load_zeroes_missing_state", "without strict, state that is missing becomes 0",
                 "pytorch#132628: state is dropped", OnArguments(kSetOptimizer, ZeroMissingState)),
      RuleMutant("LO9", "load_by_position", "the i-th entry is loaded into the i-th parameter",
                 "M64: the order of names counts", OnModelLoads(PairByPosition)),
      RuleMutant("LO10", "second_load_rounds", "the second load into a model rounds to bfloat16",
                 "a cast on the way", OnModelLoads(RoundSecondLoad)),
      RuleMutant("LO11", "load_gathers_pieces", "with FULL set, ShardedTensors are gathered and loaded",
                 "an error that is not raised", OnModelLoads(TakePiecesAsWhole)),
      RuleMutant("LO15", "failed_load_spoils_one_rank", "after a failed load one rank has other values of the bad entry",
                 "copied before it was compared", KeepBadEntryOnOneRank),
  };
}

}  // namespace shardcts
