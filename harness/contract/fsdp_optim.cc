#include "contract/fsdp_optim.h"

#include <utility>

namespace shardcts {
namespace {

void SetIfGiven(Dict& arguments, const std::optional<ProcessGroup>& group) {
  if (group) arguments.Set("group", group->handle());
}

void Set(Dict& arguments, const OptimizerLayout& layout) {
  if (layout.optimizer) arguments.Set("optimizer", layout.optimizer->handle());
  if (layout.optim_input) arguments.Set("optim_input", *layout.optim_input);
}

Dict Call(const Model& model, std::string_view operation, Dict arguments, std::vector<Warning>* warnings = nullptr) {
  arguments.Set("model", model.handle());
  Outcome outcome = model.caller().Call(operation, std::move(arguments));
  if (warnings) *warnings = outcome.warnings;
  if (!outcome.ok()) throw OperationFailed(std::string(operation), outcome.error());
  return std::move(outcome.value().AsDict());
}

}  // namespace

List OptimInput(const std::vector<std::string>& parameters) {
  const Value names = ToValue(parameters);
  return names.AsList();
}

List OptimInput(const std::vector<ParameterGroup>& groups) {
  List input;
  for (const ParameterGroup& group : groups) input.push_back(Dict{{"parameters", ToValue(group.parameters)}});
  return input;
}

Dict OptimStateDict(const Model& model, const Optimizer& optimizer, const OptimStateDictOptions& options) {
  Dict arguments{{"optimizer", optimizer.handle()}};
  if (options.state_dict) arguments.Set("state_dict", *options.state_dict);
  SetIfGiven(arguments, options.group);
  return Call(model, "fsdp.optim_state_dict", std::move(arguments));
}

Dict OptimStateDictToLoad(const Model& model, const Optimizer& optimizer, const Dict& saved,
                          const OptimLoadOptions& options) {
  Dict arguments{{"optimizer", optimizer.handle()}, {"state_dict", saved}};
  if (options.is_named_optimizer) arguments.Set("is_named_optimizer", true);
  if (options.load_directly) arguments.Set("load_directly", true);
  SetIfGiven(arguments, options.group);
  return Call(model, "fsdp.optim_state_dict_to_load", std::move(arguments));
}

Dict FullOptimStateDict(const Model& model, const Optimizer& optimizer, const FullOptimOptions& options) {
  Dict arguments{{"optimizer", optimizer.handle()}, {"rank0_only", options.rank0_only}};
  if (options.optim_input) arguments.Set("optim_input", *options.optim_input);
  SetIfGiven(arguments, options.group);
  return Call(model, "fsdp.full_optim_state_dict", std::move(arguments), options.warnings);
}

Dict ShardedOptimStateDict(const Model& model, const Optimizer& optimizer, const std::optional<ProcessGroup>& group) {
  Dict arguments{{"optimizer", optimizer.handle()}};
  SetIfGiven(arguments, group);
  return Call(model, "fsdp.sharded_optim_state_dict", std::move(arguments));
}

Dict ShardFullOptimStateDict(const Dict& saved, const Model& model, const OptimizerLayout& layout) {
  Dict arguments{{"state_dict", saved}};
  Set(arguments, layout);
  return Call(model, "fsdp.shard_full_optim_state_dict", std::move(arguments), layout.warnings);
}

Dict ScatterFullOptimStateDict(const std::optional<Dict>& saved, const Model& model, const OptimizerLayout& layout,
                               const std::optional<ProcessGroup>& group) {
  Dict arguments{{"state_dict", saved ? Value(*saved) : Value()}};
  Set(arguments, layout);
  SetIfGiven(arguments, group);
  return Call(model, "fsdp.scatter_full_optim_state_dict", std::move(arguments), layout.warnings);
}

Dict FlattenShardedOptimStateDict(const Dict& saved, const Model& model, const Optimizer& optimizer) {
  return Call(model, "fsdp.flatten_sharded_optim_state_dict",
              {{"state_dict", saved}, {"optimizer", optimizer.handle()}});
}

Dict RekeyOptimStateDict(const Dict& state_dict, OptimStateKeyType key_type, const Model& model,
                         const OptimizerLayout& layout) {
  Dict arguments{{"state_dict", state_dict},
                 {"key_type", key_type == OptimStateKeyType::kParamName ? "PARAM_NAME" : "PARAM_ID"}};
  Set(arguments, layout);
  return Call(model, "fsdp.rekey_optim_state_dict", std::move(arguments), layout.warnings);
}

}  // namespace shardcts
