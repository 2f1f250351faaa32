#include "dsd/model_world.h"

#include <vector>

#include "fsdp/fsdp_module.h"
#include "parameter/dtensor_parameter.h"

namespace shardcts::reference {
namespace {

Communicator& RanksOf(const std::shared_ptr<DeviceMesh>& mesh, Communicator& world) {
  return mesh->all() ? *mesh->all() : world;
}

Communicator& RanksOf(const FsdpOptions& options, Communicator& world) {
  if (options.mesh) return RanksOf(options.mesh, world);
  return options.replicate_group || !options.shard_group ? world : *options.shard_group;
}

}  // namespace

Communicator& WorldOf(models::Module& model, Communicator& world) {
  std::vector<Communicator*> found;
  for (const auto& [name, parameter] : models::NamedParameters(model)) {
    if (const auto* layout = FindDistribution(*parameter)) found.push_back(&RanksOf(layout->mesh, world));
  }
  for (const auto& [path, module] : models::NamedModules(model)) {
    if (const auto* unit = dynamic_cast<const FsdpModule*>(module)) found.push_back(&RanksOf(unit->options(), world));
  }
  for (const Communicator* one : found) {
    if (one->global_ranks() != found.front()->global_ranks()) return world;
  }
  return found.empty() ? world : *found.front();
}

}  // namespace shardcts::reference
