#include "contract/fsdp.h"

#include <algorithm>
#include <utility>

namespace shardcts {
namespace {

template <class T>
void SetIfGiven(Dict& dict, const char* key, const std::optional<T>& value) {
  if (value) dict.Set(key, *value);
}

void SetIfGiven(Dict& dict, const char* key, const std::vector<std::string>& names) {
  if (!names.empty()) dict.Set(key, ToValue(names));
}

void SetIfGiven(Dict& dict, const char* key, const std::string& text) {
  if (!text.empty()) dict.Set(key, text);
}

Dict ToDict(const FsdpOptions& options) {
  Dict dict;
  if (options.process_group) dict.Set("process_group", options.process_group->handle());
  if (options.device_mesh) dict.Set("device_mesh", options.device_mesh->handle());
  SetIfGiven(dict, "sharding_strategy", options.sharding_strategy);
  SetIfGiven(dict, "cpu_offload", options.cpu_offload);
  SetIfGiven(dict, "use_orig_params", options.use_orig_params);
  SetIfGiven(dict, "ignored_modules", options.ignored_modules);
  SetIfGiven(dict, "ignored_states", options.ignored_states);
  if (options.mixed_precision) {
    Dict precision;
    SetIfGiven(precision, "param_dtype", options.mixed_precision->param_dtype);
    SetIfGiven(precision, "reduce_dtype", options.mixed_precision->reduce_dtype);
    SetIfGiven(precision, "buffer_dtype", options.mixed_precision->buffer_dtype);
    SetIfGiven(precision, "cast_forward_inputs", options.mixed_precision->cast_forward_inputs);
    SetIfGiven(precision, "cast_root_forward_inputs", options.mixed_precision->cast_root_forward_inputs);
    SetIfGiven(precision, "keep_low_precision_grads", options.mixed_precision->keep_low_precision_grads);
    dict.Set("mixed_precision", precision);
  }
  if (options.auto_wrap_policy) dict.Set("auto_wrap_policy", options.auto_wrap_policy->value);
  SetIfGiven(dict, "sync_module_states", options.sync_module_states);
  SetIfGiven(dict, "device_id", options.device_id);
  SetIfGiven(dict, "skip_modules", options.skip_modules);
  return dict;
}

void Wrap(Model& model, const std::string& path, const char* wrapper, Dict options) {
  Require(model.caller(), "model.wrap",
          {{"model", model.handle()}, {"path", path}, {"wrapper", wrapper}, {"options", std::move(options)}});
}

// Runs `body` between the operation that has begun `scope` and scope.exit.
void RunInScope(Caller& caller, const Value& scope, const std::function<void()>& body) {
  try {
    body();
  } catch (...) {
    caller.Call("scope.exit", {{"scope", scope}, {"raised", true}});
    throw;
  }
  Require(caller, "scope.exit", {{"scope", scope}});
}

const char* ConfigClass(StateDictKind kind) {
  switch (kind) {
    case StateDictKind::kFull: return "FullStateDictConfig";
    case StateDictKind::kLocal: return "LocalStateDictConfig";
    case StateDictKind::kSharded: return "ShardedStateDictConfig";
  }
  return "";
}

const char* OptimConfigClass(StateDictKind kind) {
  switch (kind) {
    case StateDictKind::kFull: return "FullOptimStateDictConfig";
    case StateDictKind::kLocal: return "LocalOptimStateDictConfig";
    case StateDictKind::kSharded: return "ShardedOptimStateDictConfig";
  }
  return "";
}

Dict ToDict(StateDictKind kind, const OptimStateDictConfig& config) {
  Dict fields{{"class", OptimConfigClass(kind)}, {"offload_to_cpu", config.offload_to_cpu}};
  if (config.rank0_only) fields.Set("rank0_only", true);
  return fields;
}

Dict TypeArguments(const Model& model, StateDictKind kind, const StateDictConfig& config) {
  Dict fields{{"class", config.config_class.empty() ? ConfigClass(kind) : config.config_class},
              {"offload_to_cpu", config.offload_to_cpu}};
  if (config.rank0_only) fields.Set("rank0_only", true);
  SetIfGiven(fields, "use_dtensor", config.use_dtensor);
  Dict arguments{{"model", model.handle()}, {"type", ToString(kind)}, {"config", fields}};
  if (config.optim) arguments.Set("optim_config", ToDict(kind, *config.optim));
  return arguments;
}

}  // namespace

ProcessGroup NewGroup(Caller& caller, const std::vector<int64_t>& ranks, bool per_device_backends) {
  Dict arguments{{"ranks", ToValue(ranks)}};
  if (per_device_backends) arguments.Set("per_device_backends", true);
  return ProcessGroup(Require(caller, "group.new", std::move(arguments)));
}

AutoWrapPolicy AutoWrapPolicy::Classes(std::vector<std::string> classes) {
  return {{{"kind", "module_classes"}, {"classes", ToValue(classes)}}};
}
AutoWrapPolicy AutoWrapPolicy::Always() { return {{{"kind", "always"}}}; }
AutoWrapPolicy AutoWrapPolicy::SizeBased(int64_t min_num_params) {
  return {{{"kind", "size_based"}, {"min_num_params", min_num_params}}};
}
AutoWrapPolicy AutoWrapPolicy::Names(std::vector<std::string> names) {
  return {{{"kind", "lambda"}, {"names", ToValue(names)}}};
}

void WrapFsdp(Model& model, const std::string& path, const FsdpOptions& options) {
  Wrap(model, path, "fsdp", ToDict(options));
}
void WrapCheckpoint(Model& model, const std::string& path, bool innermost) {
  Wrap(model, path, "checkpoint", innermost ? Dict{{"innermost", true}} : Dict());
}
void WrapDdp(Model& model, const std::string& path) { Wrap(model, path, "ddp", {}); }

void WithFullParams(Model& model, const std::function<void()>& body, const SummonOptions& options) {
  const Value scope = Require(model.caller(), "fsdp.summon_full_params",
                              {{"model", model.handle()},
                               {"recurse", options.recurse},
                               {"writeback", options.writeback},
                               {"rank0_only", options.rank0_only},
                               {"offload_to_cpu", options.offload_to_cpu},
                               {"with_grads", options.with_grads}});
  RunInScope(model.caller(), scope, body);
}

std::string_view ToString(StateDictKind kind) {
  switch (kind) {
    case StateDictKind::kFull: return "FULL";
    case StateDictKind::kLocal: return "LOCAL";
    case StateDictKind::kSharded: return "SHARDED";
  }
  return "";
}

void WithStateDictType(Model& model, StateDictKind kind, const StateDictConfig& config,
                       const std::function<void()>& body) {
  const Value scope = Require(model.caller(), "fsdp.state_dict_type", TypeArguments(model, kind, config));
  RunInScope(model.caller(), scope, body);
}
void WithStateDictType(Model& model, StateDictKind kind, const std::function<void()>& body) {
  WithStateDictType(model, kind, {}, body);
}

Dict SetStateDictType(Model& model, StateDictKind kind, const StateDictConfig& config) {
  return Require(model.caller(), "fsdp.set_state_dict_type", TypeArguments(model, kind, config)).AsDict();
}
Dict GetStateDictType(const Model& model) {
  return Require(model.caller(), "fsdp.get_state_dict_type", {{"model", model.handle()}}).AsDict();
}

List FsdpUnits(const Model& model) {
  return Require(model.caller(), "fsdp.units", {{"model", model.handle()}}).AsList();
}
List Modules(const Model& model) {
  return Require(model.caller(), "model.modules", {{"model", model.handle()}}).AsList();
}

Dict GatherStateDict(Caller& caller, const Dict& state_dict) {
  const auto is_whole = [](const auto& entry) { return entry.value.type() == Value::Type::kTensor; };
  if (std::ranges::all_of(state_dict, is_whole)) return state_dict;  // the same on every rank, or empty
  return Require(caller, "sharded.gather", {{"value", state_dict}}).AsDict();
}
Value GatherSharded(Caller& caller, const Value& sharded, const std::optional<ProcessGroup>& group) {
  Dict arguments{{"value", sharded}};
  if (group) arguments.Set("group", group->handle());
  return Require(caller, "sharded.gather", arguments);
}

Bytes Serialize(Caller& caller, const Dict& state_dict) {
  const Value data = Require(caller, "state.serialize", {{"state_dict", state_dict}});
  return *data.TryAs<Bytes>();
}
Dict Deserialize(Caller& caller, const Bytes& data) {
  return Require(caller, "state.deserialize", {{"data", data}}).AsDict();
}

}  // namespace shardcts
