#include "fsdp/ignored_states.h"

#include "fsdp/fsdp_module.h"

namespace shardcts::reference {

IgnoredStates::IgnoredStates(models::Module& root, const FsdpOptions& options) {
  for (models::Module* module : options.ignored_modules) AddModules(*module);
  for (FsdpModule* unit : FsdpUnits(root)) {
    for (models::Module* module : unit->options().ignored_modules) AddModules(*module);
    for (const models::ParameterPtr& parameter : unit->options().ignored_parameters)
      parameters_.insert(parameter.get());
  }
  for (const models::ParameterPtr& parameter : options.ignored_parameters) parameters_.insert(parameter.get());
  for (const auto& [path, module] : models::NamedModules(root)) {
    if (!Contains(*module)) continue;
    for (const auto& [name, parameter] : module->parameters()) {
      if (name != kFlatParameterName) parameters_.insert(parameter.get());
    }
  }
}

void IgnoredStates::AddModules(models::Module& ignored) {
  for (const auto& [path, module] : models::NamedModules(ignored)) {
    if (!dynamic_cast<FsdpModule*>(module)) modules_.insert(module);
  }
}

}  // namespace shardcts::reference
