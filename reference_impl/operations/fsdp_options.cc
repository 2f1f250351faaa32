#include "operations/fsdp_options.h"

#include "contract/tensor_bytes.h"
#include "operations/module_paths.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<at::ScalarType> ReadDtype(const std::string& name, const Value& value) {
  const std::optional<at::ScalarType> dtype = ParseDtype(value.AsString());
  if (dtype) return dtype;
  throw SemanticError("ValueError", "mixed_precision." + name + ": no dtype is called '" + value.AsString() + "'");
}

FsdpMixedPrecision ReadMixedPrecision(const Dict& options) {
  FsdpMixedPrecision read;
  for (const auto& [key, value] : options) {
    const std::string name = ToString(key);
    if (value.IsNone()) continue;
    if (name == "param_dtype") {
      read.param_dtype = ReadDtype(name, value);
    } else if (name == "reduce_dtype") {
      read.reduce_dtype = ReadDtype(name, value);
    } else if (name == "buffer_dtype") {
      read.buffer_dtype = ReadDtype(name, value);
    } else if (name == "keep_low_precision_grads") {
      read.keep_low_precision_grads = value.AsBool();
    } else if (name == "cast_forward_inputs") {
      read.cast_forward_inputs = value.AsBool();
    } else if (name == "cast_root_forward_inputs") {
      read.cast_root_forward_inputs = value.AsBool();
    } else {
      throw SemanticError("TypeError", "MixedPrecision.__init__() got an unexpected keyword argument '" + name + "'");
    }
  }
  return read;
}

// `path`: of the module to be wrapped; paths of a policy are those of the model.
AutoWrapPolicy ReadPolicy(const Dict& options, const std::string& path) {
  AutoWrapPolicy policy;
  const std::string& kind = options.At("kind").AsString();
  if (kind == "module_classes") {
    policy.kind = AutoWrapPolicy::Kind::kModuleClasses;
    policy.names = options.At("classes").AsStrings();
  } else if (kind == "always") {
    policy.kind = AutoWrapPolicy::Kind::kAlways;
  } else if (kind == "size_based") {
    policy.kind = AutoWrapPolicy::Kind::kSizeBased;
    policy.min_num_params = options.At("min_num_params").AsInt();
  } else if (kind == "lambda") {
    policy.kind = AutoWrapPolicy::Kind::kLambda;
    const std::string prefix = path.empty() ? "" : path + ".";
    for (const std::string& name : options.At("names").AsStrings()) {
      if (name.starts_with(prefix)) policy.names.push_back(name.substr(prefix.size()));
    }
  } else {
    throw SemanticError(
        "ValueError", "unknown auto_wrap_policy '" + kind + "'; possible: always, size_based, module_classes, lambda");
  }
  return policy;
}

std::vector<models::ParameterPtr> ParametersNamed(models::Module& model, const std::vector<std::string>& names) {
  std::vector<models::ParameterPtr> parameters;
  for (const auto& [name, parameter] : models::NamedParameters(model, /*remove_duplicate=*/false)) {
    if (Contains(names, name)) parameters.push_back(parameter);
  }
  if (parameters.size() == names.size()) return parameters;
  throw SemanticError("AttributeError", "ignored_states names a parameter that the model does not have");
}

ShardingStrategy ReadStrategy(const std::string& text) {
  const std::optional<ShardingStrategy> strategy = ParseShardingStrategy(text);
  if (!strategy) throw SemanticError("ValueError", "unknown sharding_strategy '" + text + "'");
  return *strategy;
}

// A group of the mesh's dimension; it lives as long as the mesh.
std::shared_ptr<Communicator> GroupOf(const std::shared_ptr<DeviceMesh>& mesh, int64_t dim) {
  return {mesh, &mesh->group(dim)};
}

void UseMesh(const std::shared_ptr<DeviceMesh>& mesh, FsdpOptions& into) {
  into.mesh = mesh;
  into.shard_group = GroupOf(mesh, mesh->NumDims() - 1);
  if (mesh->NumDims() > 1) into.replicate_group = GroupOf(mesh, 0);
}

void ReadOption(const Call& call, const std::string& path, const std::string& name, const Value& value,
                FsdpOptions& into) {
  models::Module& model = call.Model();
  if (name == "process_group") {
    into.shard_group = call.session.Group(value.AsHandle());
  } else if (name == "device_mesh") {
    UseMesh(call.session.mesh_handles.Get(value.AsHandle()), into);
  } else if (name == "sharding_strategy") {
    into.strategy = ReadStrategy(value.AsString());
  } else if (name == "cpu_offload") {
    into.offload_params = value.AsBool();
  } else if (name == "use_orig_params") {
    into.use_orig_params = value.AsBool();
  } else if (name == "ignored_modules") {
    for (const std::string& below : value.AsStrings()) into.ignored_modules.push_back(&ModuleAt(model, below));
  } else if (name == "ignored_states") {
    into.ignored_parameters = ParametersNamed(model, value.AsStrings());
  } else if (name == "mixed_precision") {
    into.mixed_precision = ReadMixedPrecision(value.AsDict());
  } else if (name == "auto_wrap_policy") {
    into.auto_wrap_policy = ReadPolicy(value.AsDict(), path);
  } else if (name == "sync_module_states") {
    into.sync_module_states = value.AsBool();
  } else if (name == "device_id") {
    into.move_to_device = value.AsBool();
  } else if (name != "skip_modules") {
    throw SemanticError("TypeError",
                        "FullyShardedDataParallel.__init__() got an unexpected keyword argument '" + name + "'");
  }
}

std::optional<StateDictConfig> ReadConfig(const Value* value) {
  if (!value) return std::nullopt;
  StateDictConfig config = DefaultStateDictConfig(value->AsDict().At("class").AsString());
  for (const auto& [key, field] : value->AsDict()) {
    const std::string name = ToString(key);
    if (name == "class") continue;
    bool* into = name == "offload_to_cpu" ? &config.offload_to_cpu
                 : name == "rank0_only"   ? &config.rank0_only
                 : name == "use_dtensor"  ? &config.use_dtensor
                                          : nullptr;
    if (!into || !Contains(FieldsOf(config.class_name), name)) {
      throw SemanticError("TypeError",
                          config.class_name + ".__init__() got an unexpected keyword argument '" + name + "'");
    }
    *into = field.AsBool();
  }
  return config;
}

}  // namespace

std::shared_ptr<Communicator> WorldGroup(const Session& session) {
  return {session.context.communicator, [](Communicator*) {}};
}

FsdpOptions ReadFsdpOptions(const Call& call, const std::string& path) {
  FsdpOptions read;
  read.device = at::Device(call.session.context.device);
  read.shard_group = WorldGroup(call.session);
  if (const Value* options = call.Find("options")) {
    for (const auto& [name, value] : options->AsDict()) {
      if (!value.IsNone()) ReadOption(call, path, ToString(name), value, read);
    }
  }
  return read;
}

StateDictSettings ReadStateDictSettings(const Call& call) {
  const std::optional<StateDictType> type = ParseStateDictType(call.Get("type").AsString());
  if (!type) throw SemanticError("ValueError", "unknown state-dict type '" + call.Get("type").AsString() + "'");
  return MakeStateDictSettings(*type, ReadConfig(call.Find("config")), ReadConfig(call.Find("optim_config")));
}

Dict ConfigValue(const StateDictConfig& config) {
  Dict value{{"class", config.class_name}};
  for (const std::string& field : FieldsOf(config.class_name)) {
    value.Set(field, field == "offload_to_cpu" ? config.offload_to_cpu
                     : field == "rank0_only"   ? config.rank0_only
                                               : config.use_dtensor);
  }
  return value;
}

Dict SettingsValue(const StateDictSettings& settings) {
  return Dict{{"type", NameOf(settings.type)},
              {"config", ConfigValue(settings.config)},
              {"optim_config", ConfigValue(settings.optim_config)}};
}

}  // namespace shardcts::reference
