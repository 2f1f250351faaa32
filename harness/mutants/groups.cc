// Mutants of groups of ranks and of resharding: what belongs to a model's group is taken for the world's, and back.
#include <ATen/ATen.h>

#include <memory>

#include "comm/communicator.h"
#include "mutants/mutate.h"

namespace shardcts {
namespace {

const std::vector<std::string> kGroupSuite = {"extended"};

bool HasOption(const Dict& arguments, const char* field, const char* option) {
  const Value* options = arguments.Find(field);
  const Value* value = options && options->TryAs<Dict>() ? options->AsDict().Find(option) : nullptr;
  return value && value->TryAs<bool>() && value->AsBool();
}

Dict ReplaceTensors(const Dict& entries, const std::function<at::Tensor(const at::Tensor&)>& change) {
  Dict changed;
  for (const auto& [key, value] : entries) {
    if (const auto* nested = value.TryAs<Dict>()) {
      changed.Set(key, ReplaceTensors(*nested, change));
    } else {
      changed.Set(key, value.TryAs<Tensor>() ? Value(change(value.AsTensor())) : value);
    }
  }
  return changed;
}

at::Tensor RollRows(const at::Tensor& tensor) { return tensor.dim() > 0 ? tensor.detach().roll(1, 0) : tensor; }

// The whole dicts of one of the get functions have their rows rolled.
Mutation RolledWhole(std::string operation) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (outcome.ok() && called == operation && HasOption(arguments, "options", "full_state_dict")) {
      outcome.value() = ReplaceTensors(outcome.value().AsDict(), RollRows);
    }
    return outcome;
  };
}

// The second half of four ranks loads rolled rows.
Outcome RollInSecondReplica(MutantState& state, std::string_view called, Dict& arguments) {
  const bool is_load = called == "dsd.set_model_state_dict" || called == "model.load_state_dict";
  if (is_load && state.context.world_size == 4 && state.context.rank >= 2) {
    arguments.Set("state_dict", ReplaceTensors(arguments.At("state_dict").AsDict(), RollRows));
  }
  return state.inner.Invoke(called, arguments);
}

// FSDP1's SHARDED state dicts over a mesh have plain local parts.
Outcome PlainPiecesOfMesh(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (!outcome.ok()) return outcome;
  const Value* options = arguments.Find("options");
  if (called == "model.wrap" && options && options->AsDict().Contains("device_mesh")) {
    state.marked.insert(arguments.At("model").AsHandle().id);
  }
  if (called != "model.state_dict" || !state.marked.contains(arguments.At("model").AsHandle().id)) return outcome;
  for (auto& [name, value] : outcome.value().AsDict()) {
    if (const auto* dtensor = value.TryAs<DTensor>()) value = Value(dtensor->local);
  }
  return outcome;
}

// Ids count a tied parameter once for each name: those after the first are too large.
void ShiftLaterIds(MutantState&, const Dict&, Value& result) {
  Dict shifted;
  for (const auto& [key, value] : result.AsDict().At("state").AsDict()) {
    const auto* id = std::get_if<int64_t>(&key);
    shifted.Set(id && *id > 0 ? Key(*id + 1) : key, value);
  }
  result.AsDict().Set("state", shifted);
}

Outcome SwallowLoadErrors(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  const bool is_load = called == "dsd.set_model_state_dict" || called == "model.load_state_dict";
  if (!is_load || outcome.ok()) return outcome;
  return Value(Dict{{"missing_keys", List{}}, {"unexpected_keys", List{}}});
}

Outcome OnGlobalRank0(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  const bool is_whole_of_first = called.starts_with("dsd.get_") && HasOption(arguments, "options", "cpu_offload") &&
                                 HasOption(arguments, "options", "full_state_dict");
  if (outcome.ok() && is_whole_of_first && state.context.rank != 0) outcome.value() = Dict{};
  return outcome;
}

// Rank 0 of the world broadcasts to every model.
Outcome BroadcastToTheWorld(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (!outcome.ok() || called != "dsd.set_model_state_dict" || state.context.rank < 2) return outcome;
  if (HasOption(arguments, "options", "broadcast_from_rank0")) {
    state.Require("model.fill", {{"model", arguments.At("model")}, {"value", 0.0}});
  }
  return outcome;
}

// Within a scope with rank0_only only rank 0 of the world keeps what it saves.
Mutation KeepOnGlobalRank0() {
  const auto rank0_only = std::make_shared<bool>(false);
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (called == "fsdp.state_dict_type") *rank0_only = HasOption(arguments, "config", "rank0_only");
    if (outcome.ok() && called == "model.state_dict" && *rank0_only && state.context.rank != 0) outcome.value() = Dict{};
    return outcome;
  };
}

// Plain entries become those of rank 0 of the world.
Outcome EntriesOfRank0(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  const bool is_get = called == "model.state_dict" || called == "dsd.get_model_state_dict";
  if (!is_get || !outcome.ok() || !state.context.communicator) return outcome;
  const auto of_rank_0 = [&](const at::Tensor& tensor) {
    at::Tensor whole = tensor.detach().clone().contiguous();
    state.context.communicator->Broadcast(whole, 0);
    return whole;
  };
  Dict entries = outcome.value().AsDict();
  for (auto& [name, value] : entries) {
    if (value.TryAs<Tensor>()) value = Value(of_rank_0(value.AsTensor()));
    if (auto* replicated = value.TryAs<DTensor>()) {
      const bool is_replicated = replicated->placements == std::vector<Placement>{Placement::Replicate()};
      if (is_replicated) replicated->local = of_rank_0(replicated->local);
    }
  }
  outcome.value() = entries;
  return outcome;
}

Outcome IgnoreDifferingOptions(MutantState& state, std::string_view called, Dict& arguments) {
  if (called == "dsd.get_model_state_dict" || called == "dsd.set_model_state_dict") {
    for (const char* option : {"cpu_offload", "strict", "ignore_frozen_params"}) EraseIn(arguments, "options", option);
  }
  return state.inner.Invoke(called, arguments);
}

// Every parameter is a view of a tensor of twice its size.
void KeepTwiceTheSize(MutantState&, const Dict&, Value& result) {
  for (auto& [name, value] : result.AsDict()) {
    auto* dtensor = value.TryAs<DTensor>();
    if (!dtensor || dtensor->local.is_meta()) continue;
    dtensor->local = at::cat({dtensor->local.detach(), dtensor->local.detach()}).narrow(0, 0, dtensor->local.size(0));
  }
}

// Each get of a model keeps a copy of what it gave.
Mutation KeepWhatWasGiven() {
  const auto kept = std::make_shared<std::vector<at::Tensor>>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called == "implementation.reset") kept->clear();
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (!outcome.ok() || (called != "model.state_dict" && called != "dsd.get_model_state_dict")) return outcome;
    for (const auto& [name, value] : outcome.value().AsDict()) {
      if (const auto* tensor = value.TryAs<Tensor>()) kept->push_back(tensor->data.detach().clone());
      if (const auto* dtensor = value.TryAs<DTensor>()) kept->push_back(dtensor->local.detach().clone());
    }
    return outcome;
  };
}

MutantRow GroupRow(const char* name, const char* description, const char* models, std::vector<std::string> checks,
              Mutation mutation, int min_world_size = 2) {
  return {{name, description, models, kGroupSuite, std::move(checks), min_world_size}, std::move(mutation)};
}

}  // namespace

std::vector<MutantRow> GroupMutants() {
  return {
      GroupRow("whole_rows_rolled", "the rows of a whole state dict are rolled by one", "shards gathered in a wrong order",
          {"RS1 RS1", "RS3 RS3", "RS4 RS4"}, RolledWhole("dsd.get_model_state_dict")),
      GroupRow("whole_moments_rolled", "so are those of whole moments", "shards gathered in a wrong order", {"RS2 RS2"},
          RolledWhole("dsd.get_optimizer_state_dict")),
      GroupRow("ids_count_tied_names", "ids without an optimizer count a tied parameter twice", "names are counted",
          {"RS2 RS2"}, OnResult("fsdp.rekey_optim_state_dict", ShiftLaterIds)),
      GroupRow("mesh_pieces_plain", "over a mesh FSDP1 saves plain local parts", "the mesh is forgotten",
          {"RS4 RS4", "RK10 RK10"}, PlainPiecesOfMesh),
      GroupRow("load_errors_swallowed", "a load of a model never fails", "errors are logged only", {"RS5 RS5", "RS6 RS6", "RK9 RK9"},
          SwallowLoadErrors),
      GroupRow("second_replica_loads_other_rows", "the second replica loads other rows", "replicas are cut from different tensors",
          {"RK10 RK10"}, RollInSecondReplica, 4),
      GroupRow("first_rank_is_rank_0", "the whole dict is on rank 0 of the world only", "the global rank is asked",
          {"RK1 RK1"}, OnGlobalRank0, 4),
      GroupRow("broadcast_misses_groups", "what another rank than rank 0 broadcasts is lost", "the world's group is used",
          {"RK2 RK2"}, BroadcastToTheWorld, 4),
      GroupRow("rank0_only_is_rank_0", "rank0_only means rank 0 of the world", "the global rank is asked", {"RK3 RK3"},
          KeepOnGlobalRank0(), 4),
      GroupRow("entries_of_rank_0", "plain entries are those of rank 0 of the world", "ranks are taken to be equal",
          {"RK4 RK4", "RK8 RK8"}, EntriesOfRank0),
      GroupRow("rank_options_ignored", "options that ranks may disagree about have their defaults", "no rank asks its peers",
          {"RK6 RK6"}, IgnoreDifferingOptions),
      GroupRow("shards_in_whole_storage", "a shard is a view of a tensor of twice its size", "shards are views",
          {"ME3 ME3"}, OnResult("model.parameters", KeepTwiceTheSize)),
      GroupRow("given_entries_kept", "each get keeps a copy of what it gave", "a cache that is never emptied",
          {"ME4 ME4", "ME5 ME5"}, KeepWhatWasGiven()),
  };
}

}  // namespace shardcts
