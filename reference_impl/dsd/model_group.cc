#include "dsd/model_group.h"

#include <vector>

#include "fsdp/fsdp_module.h"
#include "parameter/dtensor_parameter.h"
#include "wrappers/data_parallel.h"

namespace shardcts::reference {
namespace {

// With `world` where the ranks are more than those of one communicator.
std::vector<Communicator*> GroupsIn(models::Module& model, Communicator* world) {
  std::vector<Communicator*> groups;
  for (FsdpModule* unit : FsdpUnits(model)) {
    groups.push_back(unit->options().replicate_group ? world : unit->options().shard_group.get());
  }
  for (const auto& [path, module] : models::NamedModules(model)) {
    if (const auto* parallel = dynamic_cast<const DataParallel*>(module)) groups.push_back(&parallel->group());
  }
  for (const auto& [name, parameter] : models::NamedParameters(model)) {
    const DTensorDistribution* distribution = FindDistribution(*parameter);
    if (distribution) groups.push_back(distribution->mesh->NumDims() == 1 ? &distribution->mesh->group(0) : world);
  }
  return groups;
}

}  // namespace

Communicator* GroupOfModel(models::Module& model, Communicator* world) {
  if (!world) return nullptr;
  const std::vector<Communicator*> groups = GroupsIn(model, world);
  if (groups.empty()) return world;
  for (const Communicator* group : groups) {
    if (group->global_ranks() != groups.front()->global_ranks()) return world;
  }
  return groups.front()->size() == world->size() ? world : groups.front();
}

}  // namespace shardcts::reference
