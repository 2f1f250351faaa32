// Deprecated features of the API, which warn.
#include <ATen/ATen.h>

#include <algorithm>

#include "contract/fsdp.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

constexpr std::string_view kSubmodules = "Getting submodules only model/optim state_dict is deprecated";
constexpr std::string_view kBySubmodule = "Passing model_state_dict as a ";
constexpr std::string_view kStateDictType =
    "FSDP.state_dict_type() and FSDP.set_state_dict_type() are being deprecated";

bool HasFutureWarning(const std::vector<Warning>& warnings, std::string_view text) {
  return std::ranges::any_of(warnings, [&](const Warning& warning) {
    return warning.category == "FutureWarning" && warning.message.find(text) != std::string::npos;
  });
}

Verification Warns(const std::vector<Warning>& warnings, std::string_view text) {
  return Holds(HasFutureWarning(warnings, text), "warnings", fmt::format("expected a FutureWarning \"{}\"", text));
}

// The state dict of submodule l, which must come with a warning.
Dict SubmoduleState(Trial& t, std::string_view check, const Model& model, const StateDictOptions& options) {
  std::vector<Warning> warnings;
  const Dict state_dict = GetModelStateDict(model, options, {.submodules = {"l"}, .warnings = &warnings});
  t.Check(check, Warns(warnings, kSubmodules));
  return Copied(t, state_dict);
}

void Zero(Trial& t, Model& model, const Dict& whole) {
  Dict zeros;
  for (const auto& [name, value] : whole) zeros.Set(name, at::zeros_like(value.AsTensor()));
  model.LoadStateDict(zeros);
}

// The two entries of l have been restored; strict: all others are still zero.
void ExpectOnlySubmodule(Trial& t, std::string_view weight, std::string_view bias, const Model& model,
                         const Dict& whole) {
  for (const auto& [key, value] : model.StateDict()) {
    const std::string name = ToString(key);
    if (name == "l.weight") {
      ExpectEqual(t, weight, name, whole.At(key), value);
    } else if (name == "l.bias") {
      ExpectEqual(t, bias, name, whole.At(key), value);
    } else {
      t.Strict(weight, AllElementsAre(name, 0, value));
    }
  }
}

// C1 to C12.
void ExpectSubmoduleForms(Trial& t, Model& model) {
  const Dict whole = Copied(t, GetModelStateDict(model));
  const Dict prefixed = SubmoduleState(t, "C1", model, {});
  const Dict relative = SubmoduleState(t, "C2", model, {.keep_submodule_prefixes = false});
  t.Check("C3", Equal("entries with prefix", size_t{2}, prefixed.size()));
  t.Check("C4", Equal("entries without prefix", size_t{2}, relative.size()));
  t.Strict("C4", SameNameSet("entries without prefix", {"weight", "bias"}, relative.Keys()));
  for (const auto& [key, value] : relative) {
    const std::string name = "l." + ToString(key);
    const Value* with_prefix = prefixed.Find(name);
    if (!t.Check("C5", Holds(with_prefix != nullptr, name, "is missing"))) continue;
    ExpectEqual(t, "C5", name, whole.At(name), *with_prefix);
    ExpectEqual(t, "C6", name, *with_prefix, value);
  }

  Zero(t, model, whole);
  t.NoError("C7", [&] { SetModelStateDict(model, prefixed, {.strict = false}); });
  ExpectOnlySubmodule(t, "C8", "C9", model, whole);

  Zero(t, model, whole);
  std::vector<Warning> warnings;
  SetModelStateDict(model, {{"l", relative}}, {.strict = false}, {.by_submodule = true, .warnings = &warnings});
  t.Check("C10", Warns(warnings, kBySubmodule));
  ExpectOnlySubmodule(t, "C11", "C12", model, whole);
}

// The warnings of a scope with a state-dict type, and of the calls inside it.
std::vector<Warning> WarningsOfStateDictType(Model& model) {
  Caller& caller = model.caller();
  const Outcome scope = caller.Call("fsdp.state_dict_type", {{"model", model.handle()}, {"type", "FULL"}});
  if (!scope.ok()) throw OperationFailed("fsdp.state_dict_type", scope.error());
  const Outcome saved = caller.Call("model.state_dict", {{"model", model.handle()}});
  std::vector<Warning> warnings = scope.warnings;
  warnings.insert(warnings.end(), saved.warnings.begin(), saved.warnings.end());
  Require(caller, "scope.exit", {{"scope", scope.value()}});
  return warnings;
}

}  // namespace

PORT(test_deprecate_api) {
  t.subject().Seed(1234);
  Model plain = CompositeParam(t);
  ExpectSubmoduleForms(t, plain);

  Model model = CompositeParam(t);
  FsdpOptions fsdp;
  fsdp.device_mesh = t.subject().InitMesh({t.world_size()});
  WrapFsdp(model, "", fsdp);
  t.Check("C13", Warns(WarningsOfStateDictType(model), kStateDictType));
  // Upstream uses a model without FSDP here, which cannot warn.
  std::vector<Warning> warnings;
  GetModelStateDict(model, {}, {.warnings = &warnings});
  t.Strict("C14", Holds(!HasFutureWarning(warnings, kStateDictType), "warnings of get_model_state_dict",
                        "a FutureWarning about FSDP.state_dict_type"));
}

}  // namespace shardcts::state_dict
