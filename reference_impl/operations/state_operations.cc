#include "operations/dsd_operations.h"
#include "operations/handlers.h"
#include "operations/tensor_values.h"
#include "serialization/value_bytes.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {
namespace {

void Warn(const Call& call, const std::vector<std::string>& user_warnings) {
  for (const std::string& text : user_warnings) call.warnings.push_back({"UserWarning", text});
}

Value Save(const Call& call) {
  if (const std::optional<Value> patched = SavePatchedModel(call)) return *patched;
  const PhaseTimings::Collection collection(call.session.Timings());
  const Value* prefix = call.Find("prefix");
  std::vector<std::string> user_warnings;
  const StateDict saved = SaveStateDict(call.Model(), {.prefix = prefix ? prefix->AsString() : ""}, &user_warnings);
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
