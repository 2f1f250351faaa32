// Options: each means the same in every operation that takes it, and its default is what leaving it out means.
#include <ATen/ATen.h>

#include <map>
#include <nlohmann/json.hpp>

#include "contract/dsd.h"
#include "contract/fsdp_optim.h"
#include "contract/json_codec.h"
#include "contract/operation_table.h"
#include "rank/session.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"

namespace shardcts::extended {
namespace {

constexpr const char* kFrozen = "1.bias";
constexpr const char* kMissing = "0.weight";  // the first parameter

// What the parameter `options` of a rule says.
StateDictOptions OptionsOf(const Trial& t) {
  static const std::map<std::string, StateDictOptions> options{
      {"none", {}},
      {"cpu", {.cpu_offload = true}},
      {"full", {.full_state_dict = true}},
      {"offload", {.full_state_dict = true, .cpu_offload = true}},
      {"broadcast", {.full_state_dict = true, .broadcast_from_rank0 = true}},
      {"frozen", {.ignore_frozen_params = true}},
      {"frozen_lenient", {.ignore_frozen_params = true, .strict = false}},
      {"frozen_offload", {.full_state_dict = true, .cpu_offload = true, .ignore_frozen_params = true}},
      {"flat", {.flatten_optimizer_state_dict = true}},
      {"full_flat", {.full_state_dict = true, .flatten_optimizer_state_dict = true}},
      {"lenient", {.strict = false}}};
  return options.at(t.TextParam("options"));
}

struct Trained {
  Model model;
  Optimizer optimizer;
};

// TrainedStack with a frozen parameter, wrapped, after steps [first, last) of Adam. *Collective*.
Trained TrainedWithFrozen(Trial& t, const std::string& wrapper, int64_t first, int64_t last) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  model.SetRequiresGrad({kFrozen}, false);
  Wrap(t, model, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, first, last, PartOf(t, wrapper));
  return {model, optimizer};
}

// The record with the default of each field that has one.
Dict DefaultsOf(std::string_view record) {
  static const auto table = nlohmann::ordered_json::parse(OperationsJson());
  Dict defaults;
  for (const auto& spec : table.at("records")) {
    if (spec.at("name") != record) continue;
    for (const auto& field : spec.at("fields")) {
      const auto found = field.find("default");
      if (found == field.end()) continue;
      if (found->is_boolean()) defaults.Set(field.at("name").get<std::string>(), found->get<bool>());
      if (found->is_string()) defaults.Set(field.at("name").get<std::string>(), found->get<std::string>());
    }
  }
  if (defaults.empty()) throw HarnessError(fmt::format("no record \"{}\" with defaults", record));
  return defaults;
}

}  // namespace

RULE(OC1) {
  const StateDictOptions options = OptionsOf(t);
  const Trained trained = TrainedWithFrozen(t, t.TextParam("wrapper"), 0, 1);
  const ModelAndOptimizerState both = GetStateDict(trained.model, {trained.optimizer}, options);
  t.Rule(SameValue("the model's state dict", GetModelStateDict(trained.model, options), both.model));
  t.Rule(SameValue("the optimizer's state dict",
                   GetOptimizerStateDict(trained.model, {trained.optimizer}, options), both.optimizer));
}

RULE(OC2) {
  const std::string wrapper = t.TextParam("wrapper");
  const bool lenient = t.TextParam("options") == "lenient";
  const Trained source = TrainedWithFrozen(t, wrapper, 0, 2);
  Model model_of_source = source.model;
  StateDictOptions saved_with = OptionsOf(t);
  saved_with.broadcast_from_rank0 = false;
  const ModelAndOptimizerState saved = GetStateDict(source.model, {source.optimizer}, saved_with);
  ModelAndOptimizerState given{t.subject().Clone(saved.model).AsDict(), t.subject().Clone(saved.optimizer).AsDict()};
  Trained target = TrainedWithFrozen(t, wrapper, 3, 4);
  Dict parameters = ParametersOf(t, model_of_source, wrapper);
  const Dict state = StateOf(t, model_of_source, source.optimizer, wrapper);
  if (lenient) {
    given.model.Erase(kMissing);
    parameters.Set(kMissing, ParametersOf(t, target.model, wrapper).At(kMissing));
  }
  if (t.TextParam("options") == "broadcast" && t.rank() != 0) {  // what the other ranks give does not count
    for (const auto& [name, value] : given.model) t.subject().Fill(value, 7);
    for (const auto& [name, state] : given.optimizer.At("state").AsDict()) {
      t.subject().Fill(state.AsDict().At("exp_avg"), 7);
    }
  }
  const LoadResult result = SetStateDict(target.model, {target.optimizer}, given, OptionsOf(t));
  std::vector<std::string> missing;
  if (lenient) missing = {kMissing};
  if (t.TextParam("options") == "frozen_lenient") missing = {kFrozen};
  t.Rule(SameNames("missing keys", missing, result.missing_keys));
  t.Rule(SameNames("unexpected keys", {}, result.unexpected_keys));
  t.Rule(SameValue("parameters", parameters, ParametersOf(t, target.model, wrapper)));
  t.Rule(SameValue("optimizer state", state, InOrderOf(state, StateOf(t, target.model, target.optimizer, wrapper))));
}

RULE(OC3) {
  const std::string wrapper = t.TextParam("wrapper");
  const StateDictOptions options = OptionsOf(t);
  Trained trained = TrainedWithFrozen(t, wrapper, 0, 1);
  const Value model_state = t.subject().Clone(GetModelStateDict(trained.model, options));
  const Value optimizer_state =
      t.subject().Clone(GetOptimizerStateDict(trained.model, {trained.optimizer}, options));
  PatchModelStateDict(trained.model, options);
  PatchOptimizerStateDict(trained.model, {trained.optimizer}, options);
  t.Rule(SameValue("the model's state dict", model_state, trained.model.StateDict()));
  t.Rule(SameValue("the optimizer's state dict", optimizer_state, trained.optimizer.StateDict()));
  Train(t, trained.model, {trained.optimizer}, 1, 2, PartOf(t, wrapper));
  Dict given = model_state.AsDict(), expected = given;
  if (t.TextParam("options") == "lenient") {
    given.Erase(kMissing);
    expected.Set(kMissing, t.subject().Clone(trained.model.StateDict().At(kMissing)));
  }
  trained.model.LoadStateDict(given);
  trained.optimizer.LoadStateDict(optimizer_state.AsDict());
  t.Rule(SameValue("the model's after a load", expected, trained.model.StateDict()));
  t.Rule(SameValue("the optimizer's after a load", optimizer_state, trained.optimizer.StateDict()));
}

RULE(OC4) {
  const std::string wrapper = t.TextParam("wrapper");
  const Dict defaults{{"options", DefaultsOf("state_dict_options")}};
  Trained trained = TrainedWithFrozen(t, wrapper, 0, 1);
  const auto call = [&](const char* operation, Dict arguments, const Dict& further) {
    arguments.Set("model", trained.model.handle());
    for (const auto& [name, value] : further) arguments.Set(name, value);
    return Require(t.caller(), operation, arguments);
  };
  const Dict optimizers{{"optimizers", List{trained.optimizer.handle()}}};
  const Value model_state = t.subject().Clone(call("dsd.get_model_state_dict", {}, {}));
  const Value optimizer_state = t.subject().Clone(call("dsd.get_optimizer_state_dict", optimizers, {}));
  t.Rule(SameValue("the model's state dict", model_state, call("dsd.get_model_state_dict", {}, defaults)));
  t.Rule(SameValue("the optimizer's", optimizer_state, call("dsd.get_optimizer_state_dict", optimizers, defaults)));
  Train(t, trained.model, {trained.optimizer}, 1, 2, PartOf(t, wrapper));
  call("dsd.set_model_state_dict", {{"state_dict", model_state}}, defaults);
  Dict given = optimizers;
  given.Set("state_dict", optimizer_state);
  call("dsd.set_optimizer_state_dict", given, defaults);
  t.Rule(SameValue("the model's after a load", model_state, call("dsd.get_model_state_dict", {}, {})));
  t.Rule(SameValue("the optimizer's after a load", optimizer_state,
                   call("dsd.get_optimizer_state_dict", optimizers, {})));
}

RULE(OC5) {
  const std::string record = t.TextParam("record");
  const auto trained = [&](const Dict& options) {
    Model model = BuildTrained(t, TrainedStack(), "plain");
    for (const char* path : {"0", ""}) {
      Dict arguments{{"model", model.handle()}, {"path", path}, {"wrapper", "fsdp"}};
      if (!options.empty()) arguments.Set("options", options);
      Require(t.caller(), "model.wrap", arguments);
    }
    const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
    Train(t, model, {optimizer}, 0, 2, PartOf(t, "fsdp"));
    return std::pair(TrainedParameters(model, "fsdp"), TrainedState(model, optimizer, "fsdp"));
  };
  Dict written = DefaultsOf("fsdp_options");
  if (record == "mixed_precision") written = {{"mixed_precision", DefaultsOf("mixed_precision")}};
  const auto expected = trained({}), actual = trained(written);
  SameState(t, "parameters", expected.first, actual.first);
  t.Rule(SameValue("optimizer state", expected.second, actual.second));
}

RULE(OC6) {
  static const std::map<std::string, StateDictKind> kinds{
      {"full", StateDictKind::kFull}, {"sharded", StateDictKind::kSharded}, {"local", StateDictKind::kLocal}};
  const std::string kind = t.TextParam("kind");
  const bool offload = t.BoolParam("offload"), rank0_only = t.BoolParam("rank0_only");
  const StateDictConfig config{.offload_to_cpu = offload,
                               .rank0_only = rank0_only,
                               .optim = OptimStateDictConfig{.offload_to_cpu = offload, .rank0_only = rank0_only}};
  Trained trained = TrainedWithFrozen(t, "fsdp_orig", 0, 1);
  const bool has_optimizer_state = kind != "local";
  Value state, optimizer_state, settings;
  const auto look = [&] {
    state = t.subject().Clone(trained.model.StateDict());
    if (has_optimizer_state) optimizer_state = t.subject().Clone(OptimStateDict(trained.model, trained.optimizer));
    settings = GetStateDictType(trained.model);
  };
  const Dict before = GetStateDictType(trained.model);
  WithStateDictType(trained.model, kinds.at(kind), config, look);
  const Value in_scope = state, optimizer_in_scope = optimizer_state, settings_in_scope = settings;
  t.Rule(SameValue("the settings after the scope", before, GetStateDictType(trained.model)));
  t.Rule(SameValue("the settings before", before, SetStateDictType(trained.model, kinds.at(kind), config)));
  look();
  t.Rule(SameValue("the model's state dict", in_scope, state));
  t.Rule(SameValue("the settings", settings_in_scope, settings));
  if (has_optimizer_state) t.Rule(SameValue("the optimizer's state dict", optimizer_in_scope, optimizer_state));
  const bool has_entries = !rank0_only || t.rank() == 0;
  t.Rule(Equal("whether the model's has entries", has_entries, !state.AsDict().empty()));
  if (has_optimizer_state) {
    t.Rule(Equal("whether the optimizer's has entries", has_entries, optimizer_state.AsDict().Contains("state")));
  }
}

RULE(OC7) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  for (const std::string& name : model.Parameters().Keys()) model.SetRequiresGrad({name}, false);
  Wrap(t, model, TrainedStack(), t.TextParam("wrapper"));
  const Dict state = GetModelStateDict(model, {.ignore_frozen_params = true});
  t.Rule(SameNames("names", {}, state.Keys()));
}

RULE(OC8) {
  const std::string wrapper = t.TextParam("wrapper");
  const Trained source = TrainedWithFrozen(t, wrapper, 0, 2);
  Model model_of_source = source.model;
  StateDictOptions saved_with = OptionsOf(t);
  saved_with.broadcast_from_rank0 = false;
  const Value saved = t.subject().Clone(GetOptimizerStateDict(source.model, {source.optimizer}, saved_with));
  const Dict state = StateOf(t, model_of_source, source.optimizer, wrapper);
  Trained target = TrainedWithFrozen(t, wrapper, 3, 4);
  const Dict parameters = t.subject().Clone(ParametersOf(t, target.model, wrapper)).AsDict();
  const LoadResult result = SetStateDict(target.model, {target.optimizer}, {{}, saved.AsDict()}, OptionsOf(t));
  t.Rule(SameNames("missing keys", {}, result.missing_keys));
  t.Rule(SameValue("parameters", parameters, ParametersOf(t, target.model, wrapper)));
  t.Rule(SameValue("optimizer state", state, InOrderOf(state, StateOf(t, target.model, target.optimizer, wrapper))));
}

}  // namespace shardcts::extended
