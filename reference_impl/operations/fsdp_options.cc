#include "operations/fsdp_options.h"

#include <algorithm>

#include "operations/module_paths.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

FsdpMixedPrecision ReadMixedPrecision(const Fields& options) {
  FsdpMixedPrecision read;
  read.param_dtype = options.Dtype("param_dtype");
  read.reduce_dtype = options.Dtype("reduce_dtype");
  read.buffer_dtype = options.Dtype("buffer_dtype");
  read.keep_low_precision_grads = options.Flag("keep_low_precision_grads", read.keep_low_precision_grads);
  read.cast_forward_inputs = options.Flag("cast_forward_inputs", read.cast_forward_inputs);
  read.cast_root_forward_inputs = options.Flag("cast_root_forward_inputs", read.cast_root_forward_inputs);
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
  }
  return policy;
}

std::vector<models::ParameterPtr> ParametersNamed(models::Module& model, const std::vector<std::string>& names) {
  std::vector<models::ParameterPtr> parameters;
  for (const auto& [name, parameter] : models::NamedParameters(model, /*remove_duplicate=*/false)) {
    if (std::ranges::find(names, name) != names.end()) parameters.push_back(parameter);
  }
  if (parameters.size() == names.size()) return parameters;
  throw SemanticError("AttributeError", "ignored_states names a parameter that the model does not have");
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

// The config of one type: its class, as given, need not fit the type.
std::optional<StateDictConfig> ReadConfig(const Value* value) {
  if (!value) return std::nullopt;
  const Fields fields(value->AsDict());
  StateDictConfig config = DefaultStateDictConfig(fields.Find("class")->AsString());
  config.offload_to_cpu = fields.Flag("offload_to_cpu", config.offload_to_cpu);
  config.rank0_only = fields.Flag("rank0_only", config.rank0_only);
  config.use_dtensor = fields.Flag("use_dtensor", config.use_dtensor);
  return config;
}

}  // namespace

std::shared_ptr<Communicator> WorldGroup(const Session& session) {
  return {session.context.communicator, [](Communicator*) {}};
}

FsdpOptions ReadFsdpOptions(const Call& call, const std::string& path) {
  const Fields options = call.Options();
  models::Module& model = call.Model();
  FsdpOptions read;
  const Value* group = options.Find("process_group");
  read.shard_group = group ? call.session.Group(group->AsHandle()) : WorldGroup(call.session);
  if (const Value* mesh = options.Find("device_mesh")) UseMesh(call.session.Mesh(mesh->AsHandle()), read);
  read.device = read.shard_group->device();
  if (const Value* strategy = options.Find("sharding_strategy")) {
    read.strategy = ParseShardingStrategy(strategy->AsString()).value();
  }
  read.offload_params = options.Flag("cpu_offload", read.offload_params);
  read.use_orig_params = options.Flag("use_orig_params", read.use_orig_params);
  if (options.Find("ignored_modules") && options.Find("ignored_states")) {
    throw SemanticError("ValueError", "Cannot pass both ignored_modules and ignored_states");
  }
  for (const std::string& below : options.Texts("ignored_modules")) {
    read.ignored_modules.push_back(&ModuleAt(model, below));
  }
  read.ignored_parameters = ParametersNamed(model, options.Texts("ignored_states"));
  read.mixed_precision = ReadMixedPrecision(options.Record("mixed_precision"));
  if (const Value* policy = options.Find("auto_wrap_policy")) read.auto_wrap_policy = ReadPolicy(policy->AsDict(), path);
  read.sync_module_states = options.Flag("sync_module_states", read.sync_module_states);
  read.move_to_device = options.Flag("device_id", read.move_to_device);
  return read;
}

StateDictSettings ReadStateDictSettings(const Call& call) {
  const StateDictType type = ParseStateDictType(call.Get("type").AsString()).value();
  return MakeStateDictSettings(type, ReadConfig(call.Find("config")), ReadConfig(call.Find("optim_config")));
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
