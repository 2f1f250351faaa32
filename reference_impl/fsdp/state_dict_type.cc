#include "fsdp/state_dict_type.h"

#include <utility>

#include "fsdp/fsdp_module.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

struct TypeNames {
  StateDictType type;
  const char* name;
  const char* config;
  const char* optim_config;
};
constexpr TypeNames kTypes[] = {
    {StateDictType::kFull, "FULL", "FullStateDictConfig", "FullOptimStateDictConfig"},
    {StateDictType::kLocal, "LOCAL", "LocalStateDictConfig", "LocalOptimStateDictConfig"},
    {StateDictType::kSharded, "SHARDED", "ShardedStateDictConfig", "ShardedOptimStateDictConfig"},
};

const TypeNames& NamesOf(StateDictType type) {
  for (const TypeNames& names : kTypes) {
    if (names.type == type) return names;
  }
  throw std::logic_error("no such state-dict type");
}

std::string PythonClass(const std::string& name) { return "<class 'torch.distributed.fsdp.api." + name + "'>"; }

// A config class, its first field's default, and the fields that come after offload_to_cpu.
struct ConfigClass {
  const char* name;
  bool offload_to_cpu;
  const char* other_field;
};
constexpr ConfigClass kConfigClasses[] = {
    {"FullStateDictConfig", false, "rank0_only"},     {"LocalStateDictConfig", false, nullptr},
    {"ShardedStateDictConfig", false, "use_dtensor"}, {"FullOptimStateDictConfig", true, "rank0_only"},
    {"LocalOptimStateDictConfig", false, nullptr},    {"ShardedOptimStateDictConfig", true, "use_dtensor"},
};

const ConfigClass& ConfigClassNamed(const std::string& name) {
  for (const ConfigClass& known : kConfigClasses) {
    if (name == known.name) return known;
  }
  throw SemanticError("ValueError", "no state-dict config class is called '" + name + "'");
}

StateDictConfig Checked(const std::optional<StateDictConfig>& given, const char* expected, const char* what) {
  StateDictConfig config = given.value_or(DefaultStateDictConfig(expected));
  if (config.class_name == expected) return config;
  throw SemanticError("RuntimeError", std::string("Expected ") + what + " of type " + PythonClass(expected) +
                                          " but got " + PythonClass(config.class_name));
}

void CheckSameKind(const StateDictSettings& first, const StateDictSettings& other) {
  if (first.type != other.type) {
    throw SemanticError("AssertionError", "All FSDP modules should have the same state_dict_type.");
  }
  if (first.config.class_name != other.config.class_name) {
    throw SemanticError("AssertionError", "All FSDP modules must have the same type of state_dict_config.");
  }
  if (first.optim_config.class_name != other.optim_config.class_name) {
    throw SemanticError("AssertionError", "All FSDP modules must have the same type of optim_state_dict_config.");
  }
}

StateDictSettings SettingsOf(const FsdpModule& unit) {
  StateDictSettings settings = unit.settings();
  settings.optim_config.use_dtensor |= unit.options().mesh != nullptr;
  return settings;
}

}  // namespace

bool StateDictConfig::operator==(const StateDictConfig& other) const {
  return class_name == other.class_name && offload_to_cpu == other.offload_to_cpu && rank0_only == other.rank0_only;
}

StateDictConfig DefaultStateDictConfig(const std::string& class_name) {
  return {class_name, ConfigClassNamed(class_name).offload_to_cpu};
}

std::vector<std::string> FieldsOf(const std::string& class_name) {
  const ConfigClass& known = ConfigClassNamed(class_name);
  if (!known.other_field) return {"offload_to_cpu"};
  return {"offload_to_cpu", known.other_field};
}

std::string NameOf(StateDictType type) { return NamesOf(type).name; }

std::optional<StateDictType> ParseStateDictType(const std::string& text) {
  for (const TypeNames& names : kTypes) {
    if (text == names.name) return names.type;
  }
  return std::nullopt;
}

StateDictSettings MakeStateDictSettings(StateDictType type, const std::optional<StateDictConfig>& config,
                                        const std::optional<StateDictConfig>& optim_config) {
  const TypeNames& names = NamesOf(type);
  return {type, Checked(config, names.config, "state_dict_config"),
          Checked(optim_config, names.optim_config, "optim_state_dict_config")};
}

std::optional<StateDictSettings> SetStateDictType(models::Module& root, const StateDictSettings& settings) {
  std::optional<StateDictSettings> previous;
  for (FsdpModule* unit : FsdpUnits(root)) {
    if (!previous) previous = SettingsOf(*unit);
    CheckSameKind(*previous, unit->settings());
    unit->set_settings(settings);
  }
  return previous;
}

std::optional<StateDictSettings> GetStateDictType(models::Module& root) {
  std::optional<StateDictSettings> settings;
  for (FsdpModule* unit : FsdpUnits(root)) {
    if (!settings) settings = SettingsOf(*unit);
    if (*settings == unit->settings()) continue;
    throw SemanticError("AssertionError",
                        "All FSDP modules must have the same state dict settings. Got different "
                        "settings for " +
                            unit->type_name() + ".");
  }
  return settings;
}

void StateDictTypeScope::End() {
  const std::optional<StateDictSettings> previous = std::move(previous_);
  previous_.reset();
  if (previous) SetStateDictType(root_, *previous);
}

StateDictTypeScope::~StateDictTypeScope() {
  try {
    End();
  } catch (const SemanticError&) {  // a destructor must not throw; callers that need the error call End
  }
}

}  // namespace shardcts::reference
