#include "operations/dsd_operations.h"
#include "fsdp/fsdp_module.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "operations/tensor_values.h"
#include "serialization/value_bytes.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {
namespace {

void Warn(const Call& call, const std::vector<std::string>& user_warnings) {
  for (const std::string& text : user_warnings) call.warnings.push_back({"UserWarning", text});
}

// RuntimeError: a unit above the module has flattened parameters below it, and does not show them while it is sharded.
models::Module& InnerModule(models::Module& model, const std::string& path) {
  models::Module& inner = ModuleAt(model, path);
  for (const auto& [unit_path, module] : models::NamedModules(model, /*remove_duplicate=*/false)) {
    const auto* unit = dynamic_cast<const FsdpModule*>(module);
    if (!unit || !unit->flat() || module == &inner) continue;
    const bool is_above = unit_path.empty() || path.starts_with(unit_path + ".");
    if (!is_above) continue;
    std::vector<FlatParameter::Slot> slots = unit->flat()->primary_slots();
    slots.insert(slots.end(), unit->flat()->shared_slots().begin(), unit->flat()->shared_slots().end());
    for (const FlatParameter::Slot& slot : slots) {
      const std::string name = models::JoinName(unit_path, slot.fqn);
      if (!path.empty() && !name.starts_with(path + ".")) continue;
      throw SemanticError("RuntimeError", "'" + path + "' has no state dict of its own: the fsdp unit '" + unit_path +
                                              "' above it has flattened '" + name + "'");
    }
  }
  return inner;
}

Value Save(const Call& call) {
  if (const std::optional<Value> patched = SavePatchedModel(call)) return *patched;
  const PhaseTimings::Collection collection(call.session.Timings());
  const Value* prefix = call.Find("prefix");
  std::vector<std::string> user_warnings;
  const Value* path = call.Find("path");
  models::Module& module = path ? InnerModule(call.Model(), path->AsString()) : call.Model();
  const StateDict saved = SaveStateDict(module, {.prefix = prefix ? prefix->AsString() : ""}, &user_warnings);
  Warn(call, user_warnings);
  return StateDictValue(saved);
}

Value Load(const Call& call) {
  if (const std::optional<Value> patched = LoadPatchedModel(call)) return *patched;
  const PhaseTimings::Collection collection(call.session.Timings());
  const StateDict given = StateDictFrom(call.Get("state_dict").AsDict(), call.session.meshes);
  const LoadResult result =
      LoadStateDict(call.Model(), given, {.strict = call.Flag("strict", true), .assign = call.Flag("assign", false)});
  Warn(call, result.user_warnings);
  return Dict{{"missing_keys", ToValue(result.missing_keys)}, {"unexpected_keys", ToValue(result.unexpected_keys)}};
}

RankOfWorld Here(const Call& call) { return {call.session.context.rank, call.session.context.world_size}; }

Value Serialize(const Call& call) { return Bytes{ToBytes(call.Get("state_dict"), Here(call))}; }

Value Deserialize(const Call& call) {
  const Value read = FromBytes(call.Get("data").TryAs<Bytes>()->data, Here(call));
  if (read.type() != Value::Type::kDict) throw SemanticError("RuntimeError", "the data hold no state dict");
  return read;
}

}  // namespace

void AddStateHandlers(HandlerTable& table) {
  table["model.state_dict"] = Save;
  table["model.load_state_dict"] = Load;
  table["state.serialize"] = Serialize;
  table["state.deserialize"] = Deserialize;
}

}  // namespace shardcts::reference
