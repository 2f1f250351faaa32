#include "operations/handlers.h"
#include "operations/tensor_values.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {
namespace {

Value Save(const Call& call) { return StateDictValue(SaveStateDict(call.Model())); }

Value Load(const Call& call) {
  const StateDict given = StateDictFrom(call.Get("state_dict").AsDict(), call.session.meshes);
  const LoadResult result =
      LoadStateDict(call.Model(), given, {.strict = call.Flag("strict", true), .assign = call.Flag("assign", false)});
  for (const std::string& text : result.user_warnings) call.warnings.push_back({"UserWarning", text});
  return Dict{{"missing_keys", ToValue(result.missing_keys)}, {"unexpected_keys", ToValue(result.unexpected_keys)}};
}

}  // namespace

void AddStateHandlers(HandlerTable& table) {
  table["model.state_dict"] = Save;
  table["model.load_state_dict"] = Load;
}

}  // namespace shardcts::reference
