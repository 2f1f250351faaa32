#include "contract/dsd.h"

#include <utility>

namespace shardcts {
namespace {

Dict OptionsToDict(const StateDictOptions& options) {
  const StateDictOptions defaults;
  Dict dict;
  const auto set = [&](const char* name, bool StateDictOptions::*field) {
    if (options.*field != defaults.*field) dict.Set(name, options.*field);
  };
  set("full_state_dict", &StateDictOptions::full_state_dict);
  set("cpu_offload", &StateDictOptions::cpu_offload);
  set("ignore_frozen_params", &StateDictOptions::ignore_frozen_params);
  set("keep_submodule_prefixes", &StateDictOptions::keep_submodule_prefixes);
  set("strict", &StateDictOptions::strict);
  set("broadcast_from_rank0", &StateDictOptions::broadcast_from_rank0);
  set("flatten_optimizer_state_dict", &StateDictOptions::flatten_optimizer_state_dict);
  if (!options.dsd_fqn_modifiers.empty()) dict.Set("dsd_fqn_modifiers", options.dsd_fqn_modifiers);
  return dict;
}

Value HandlesOf(const std::vector<Optimizer>& optimizers) {
  List handles;
  for (const Optimizer& optimizer : optimizers) handles.push_back(optimizer.handle());
  return handles;
}

Value CallDsd(const Model& model, std::string_view operation, Dict arguments, const StateDictOptions& options,
              const StateDictCall& call) {
  arguments.Set("model", model.handle());
  const Dict option_dict = OptionsToDict(options);
  if (!option_dict.empty()) arguments.Set("options", option_dict);
  if (!call.submodules.empty()) arguments.Set("submodules", ToValue(call.submodules));
  if (call.by_submodule) arguments.Set("by_submodule", true);
  if (!call.distributed) arguments.Set("distributed", false);
  Outcome outcome = model.caller().Call(operation, std::move(arguments));
  if (call.warnings) *call.warnings = outcome.warnings;
  if (!outcome.ok()) throw OperationFailed(std::string(operation), outcome.error());
  return std::move(outcome.value());
}

LoadResult KeysOf(const Value& value) {
  const Dict& keys = value.AsDict();
  return {keys.At("missing_keys").AsStrings(), keys.At("unexpected_keys").AsStrings()};
}

void WrapRoot(Model& model, const char* wrapper) {
  Require(model.caller(), "model.wrap",
          {{"model", model.handle()}, {"path", ""}, {"wrapper", wrapper}, {"options", Dict()}});
}

}  // namespace

Dict GetModelStateDict(const Model& model, const StateDictOptions& options, const StateDictCall& call) {
  return CallDsd(model, "dsd.get_model_state_dict", {}, options, call).AsDict();
}

Dict GetOptimizerStateDict(const Model& model, const std::vector<Optimizer>& optimizers,
                           const StateDictOptions& options, const StateDictCall& call) {
  return CallDsd(model, "dsd.get_optimizer_state_dict", {{"optimizers", HandlesOf(optimizers)}}, options, call).AsDict();
}

ModelAndOptimizerState GetStateDict(const Model& model, const std::vector<Optimizer>& optimizers,
                                    const StateDictOptions& options, const StateDictCall& call) {
  const Value both = CallDsd(model, "dsd.get_state_dict", {{"optimizers", HandlesOf(optimizers)}}, options, call);
  return {both.AsDict().At("model").AsDict(), both.AsDict().At("optimizer").AsDict()};
}

LoadResult SetModelStateDict(Model& model, const Dict& state_dict, const StateDictOptions& options,
                             const StateDictCall& call) {
  return KeysOf(CallDsd(model, "dsd.set_model_state_dict", {{"state_dict", state_dict}}, options, call));
}

void SetOptimizerStateDict(const Model& model, const std::vector<Optimizer>& optimizers, const Dict& state_dict,
                           const StateDictOptions& options, const StateDictCall& call) {
  CallDsd(model, "dsd.set_optimizer_state_dict", {{"optimizers", HandlesOf(optimizers)}, {"state_dict", state_dict}},
          options, call);
}

LoadResult SetStateDict(Model& model, const std::vector<Optimizer>& optimizers, const ModelAndOptimizerState& state,
                        const StateDictOptions& options, const StateDictCall& call) {
  return KeysOf(CallDsd(model, "dsd.set_state_dict",
                        {{"optimizers", HandlesOf(optimizers)},
                         {"model_state_dict", state.model},
                         {"optimizer_state_dict", state.optimizer}},
                        options, call));
}

void PatchModelStateDict(Model& model, const StateDictOptions& options) {
  CallDsd(model, "dsd.patch_model_state_dict", {}, options, {});
}

void PatchOptimizerStateDict(const Model& model, const std::vector<Optimizer>& optimizers,
                             const StateDictOptions& options) {
  CallDsd(model, "dsd.patch_optimizer_state_dict", {{"optimizers", HandlesOf(optimizers)}}, options, {});
}

void WrapReplicate(Model& model) { WrapRoot(model, "replicate"); }
void WrapCompile(Model& model) { WrapRoot(model, "compile"); }

void MoveSubmodule(Model& model, const std::string& path, const std::string& device) {
  Require(model.caller(), "model.to", {{"model", model.handle()}, {"path", path}, {"device", device}});
}

}  // namespace shardcts
