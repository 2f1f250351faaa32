// The state-dict type as a setting: errors, restoration, and keys without the wrapper's prefix.
#include <ATen/ATen.h>

#include "suites/fsdp_state_dict/ports.h"
#include "suites/fsdp_state_dict/steps.h"

namespace shardcts::fsdp_state_dict {
namespace {

constexpr std::string_view kPrefix = "_fsdp_wrapped_module.";

void CheckOneCleanKey(Trial& t, const char* what, const std::vector<std::string>& keys, const std::string& expected,
                      std::string_view count, std::string_view clean) {
  t.Check(count, Equal(what, size_t{1}, keys.size()));
  t.Strict(count, SameNames(what, {expected}, keys));
  for (const std::string& key : keys) {
    t.Check(clean, Holds(key.find(kPrefix) == std::string::npos, key, "shows the wrapper's prefix"));
  }
}

}  // namespace

PORT(test_wrong_state_dict_config) {
  Model model = t.subject().Build("inner_outer", {});
  WrapFsdp(model, "inner");
  model.To(t.device());
  WrapFsdp(model, "");
  const Dict before = GetStateDictType(model);
  t.Raises("C1", "RuntimeError", "Expected state_dict_config of type",
           [&] { WithStateDictType(model, StateDictKind::kFull, {.config_class = "LocalStateDictConfig"}, [] {}); });
  t.Strict("C1", SameValue("settings after the error", before, GetStateDictType(model)));
}

PORT(test_state_dict_type) {
  Model model = t.subject().Build("skip_model", {}, t.device());
  WrapFsdp(model, "");
  WithStateDictType(model, StateDictKind::kLocal, [&] {
    for (const Value& unit : FsdpUnits(model)) {
      t.Strict("C1", Equal<std::string>("type inside the scope", "LOCAL", unit.AsDict().At("type").AsString()));
    }
  });
  for (const Value& unit : FsdpUnits(model)) {
    t.Check("C1", Equal<std::string>("type after the scope", "FULL", unit.AsDict().At("type").AsString()));
  }
  // Also if the body raises.
  struct Raised {};
  try {
    WithStateDictType(model, StateDictKind::kSharded, [] { throw Raised(); });
  } catch (const Raised&) {
  }
  for (const Value& unit : FsdpUnits(model)) {
    t.Strict("C1", Equal<std::string>("type after a scope that raised", "FULL", unit.AsDict().At("type").AsString()));
  }
}

PORT(test_full_state_dict_missing_unexpected_keys_cleaned) {
  Model model = NestedModel(t);
  Dict saved;
  t.NoError("C6", [&] { saved = model.StateDict(); });
  const std::string removed = "0.weight";
  saved.Erase(removed);
  saved.Set("unexpected", at::ones({1}, c10::Device(t.device())));
  LoadResult result;
  t.NoError("C1", [&] { result = model.LoadStateDict(saved, {.strict = false}); });
  CheckOneCleanKey(t, "missing keys", result.missing_keys, removed, "C2", "C4");
  CheckOneCleanKey(t, "unexpected keys", result.unexpected_keys, "unexpected", "C3", "C5");
}

}  // namespace shardcts::fsdp_state_dict
