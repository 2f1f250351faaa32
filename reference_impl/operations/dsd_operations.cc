// The distributed state-dict functions.
#include "operations/dsd_operations.h"

#include "dsd/model_group.h"
#include "dsd/state_dict_functions.h"
#include "operations/module_paths.h"

namespace shardcts::reference {
namespace {

StateDictOptions ReadStateDictOptions(const Call& call) {
  const Fields given = call.Options();
  StateDictOptions options;
  for (const auto& [name, field] : OptionsByName()) options.*field = given.Flag(name, options.*field);
  const Value* modifiers = given.Find("dsd_fqn_modifiers");
  options.ask_modifiers = !modifiers || modifiers->AsString() == "_fqn_modifiers";
  return options;
}

StateDictContext ContextOf(const Call& call) {
  Communicator* world = call.Flag("distributed", true) ? call.session.context.communicator : nullptr;
  return {GroupOfModel(call.Model(), world), call.session.meshes, call.warnings};
}

// Paths without wrappers. AttributeError: nothing is there.
std::vector<std::string> Submodules(const Call& call) {
  const Value* given = call.Find("submodules");
  if (!given) return {};
  for (const std::string& path : given->AsStrings()) ModuleAt(call.Model(), path);
  return given->AsStrings();
}

std::vector<Optimizer*> Optimizers(const Call& call) {
  std::vector<Optimizer*> optimizers;
  for (const Value& handle : call.Get("optimizers").AsList()) {
    optimizers.push_back(call.session.optimizer_handles.Get(handle.AsHandle()).get());
  }
  return optimizers;
}

bool IsBySubmodule(const Call& call) {
  return call.Flag("by_submodule", false) && !call.Get("state_dict").AsDict().empty();
}

// *Collective*. Also detects paths that do not exist on one rank.
StateDictOptions OptionsOfAllRanks(const Call& call) {
  const auto read = [&] {
    Submodules(call);
    if (IsBySubmodule(call)) {
      for (const std::string& path : call.Get("state_dict").AsDict().Keys()) ModuleAt(call.Model(), path);
    }
    return ReadStateDictOptions(call);
  };
  return AgreedOptions(read, ContextOf(call));
}

Value KeysValue(const LoadResult& result) {
  return Dict{{"missing_keys", ToValue(result.missing_keys)}, {"unexpected_keys", ToValue(result.unexpected_keys)}};
}

Value GetModel(const Call& call) {
  const StateDictOptions options = OptionsOfAllRanks(call);
  return GetModelStateDict(call.Model(), Submodules(call), options, ContextOf(call));
}

Value GetOptimizers(const Call& call) {
  const StateDictOptions options = OptionsOfAllRanks(call);
  return GetOptimizerStateDict(call.Model(), Optimizers(call), options, ContextOf(call));
}

// The dicts of a value are copies: edits can reach nothing.
Value EditOptimizers(const Call& call) {
  Dict found = GetOptimizers(call).AsDict();
  for (auto& [key, value] : found) value = 9;
  return {};
}

Value GetBoth(const Call& call) {
  const StateDictOptions options = OptionsOfAllRanks(call);
  ModelAndOptimizerState state =
      GetStateDict(call.Model(), Optimizers(call), Submodules(call), options, ContextOf(call));
  return Dict{{"model", std::move(state.model)}, {"optimizer", std::move(state.optimizer)}};
}

Value SetModel(const Call& call) {
  const StateDictOptions options = OptionsOfAllRanks(call);
  const Dict& given = call.Get("state_dict").AsDict();
  return KeysValue(SetModelStateDict(call.Model(), IsBySubmodule(call) ? JoinSubmodules(given, ContextOf(call)) : given,
                                     options, ContextOf(call)));
}

Value SetOptimizers(const Call& call) {
  const StateDictOptions options = OptionsOfAllRanks(call);
  SetOptimizerStateDict(call.Model(), Optimizers(call), call.Get("state_dict").AsDict(), options, ContextOf(call));
  return {};
}

Value SetBoth(const Call& call) {
  const StateDictOptions options = OptionsOfAllRanks(call);
  const ModelAndOptimizerState state{call.Get("model_state_dict").AsDict(), call.Get("optimizer_state_dict").AsDict()};
  return KeysValue(SetStateDict(call.Model(), Optimizers(call), state, options, ContextOf(call)));
}

// What a patched object's calls are made with.
Dict PatchArguments(const Call& call) {
  Dict arguments{{"model", call.Get("model")}};
  for (const char* name : {"optimizers", "options"}) {
    if (const Value* value = call.Find(name)) arguments.Set(name, *value);
  }
  return arguments;
}

Value PatchModel(const Call& call) {
  call.Model();
  call.session.patched_models[call.Get("model").AsHandle().id] = PatchArguments(call);
  return {};
}

Value PatchOptimizers(const Call& call) {
  call.Model();
  Optimizers(call);
  for (const Value& optimizer : call.Get("optimizers").AsList()) {
    call.session.patched_optimizers[optimizer.AsHandle().id] = PatchArguments(call);
  }
  return {};
}

const Dict* PatchOf(const std::map<int64_t, Dict>& patched, const Handle& handle) {
  const auto found = patched.find(handle.id);
  return found == patched.end() ? nullptr : &found->second;
}

Dict WithStateDict(const Call& call, Dict arguments) {
  arguments.Set("state_dict", call.Get("state_dict"));
  return arguments;
}

}  // namespace

std::optional<Value> SavePatchedModel(const Call& call) {
  const Dict* arguments = PatchOf(call.session.patched_models, call.Get("model").AsHandle());
  if (!arguments) return std::nullopt;
  return GetModel({call.session, *arguments, call.warnings});
}

std::optional<Value> LoadPatchedModel(const Call& call) {
  const Dict* arguments = PatchOf(call.session.patched_models, call.Get("model").AsHandle());
  if (!arguments) return std::nullopt;
  return SetModel({call.session, WithStateDict(call, *arguments), call.warnings});
}

std::optional<Value> SavePatchedOptimizer(const Call& call) {
  const Dict* arguments = PatchOf(call.session.patched_optimizers, call.Get("optimizer").AsHandle());
  if (!arguments) return std::nullopt;
  return GetOptimizers({call.session, *arguments, call.warnings});
}

std::optional<Value> LoadPatchedOptimizer(const Call& call) {
  const Dict* arguments = PatchOf(call.session.patched_optimizers, call.Get("optimizer").AsHandle());
  if (!arguments) return std::nullopt;
  return SetOptimizers({call.session, WithStateDict(call, *arguments), call.warnings});
}

Value GetModelByCall(const Call& call) { return GetModel(call); }

void AddDsdHandlers(HandlerTable& table) {
  table["dsd.get_model_state_dict"] = GetModel;
  table["dsd.get_optimizer_state_dict"] = GetOptimizers;
  table["dsd.edit_optimizer_state_dict"] = EditOptimizers;
  table["dsd.get_state_dict"] = GetBoth;
  table["dsd.set_model_state_dict"] = SetModel;
  table["dsd.set_optimizer_state_dict"] = SetOptimizers;
  table["dsd.set_state_dict"] = SetBoth;
  table["dsd.patch_model_state_dict"] = PatchModel;
  table["dsd.patch_optimizer_state_dict"] = PatchOptimizers;
}

}  // namespace shardcts::reference
