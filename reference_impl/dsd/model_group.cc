#include "dsd/model_group.h"

#include <memory>
#include <vector>

#include "fsdp/fsdp_module.h"
#include "fully_shard/fsdp_state.h"
#include "parameter/dtensor_parameter.h"
#include "wrappers/data_parallel.h"

namespace shardcts::reference {
namespace {

// `world` where the mesh has more dimensions and all ranks.
Communicator* RanksOf(const std::shared_ptr<DeviceMesh>& mesh, Communicator* world) {
  if (mesh->all()) return mesh->all().get();
  return mesh->NumDims() == 1 ? &mesh->group(0) : world;
}

// `world` where the ranks are more than those of one communicator.
Communicator* RanksOf(const FsdpOptions& options, Communicator* world) {
  if (options.mesh) return RanksOf(options.mesh, world);
  return options.replicate_group || !options.shard_group ? world : options.shard_group.get();
}

std::vector<Communicator*> GroupsIn(models::Module& model, Communicator* world) {
  std::vector<Communicator*> groups;
  for (FsdpModule* unit : FsdpUnits(model)) groups.push_back(RanksOf(unit->options(), world));
  for (const auto& [path, module] : models::NamedModules(model)) {
    if (const auto* parallel = dynamic_cast<const DataParallel*>(module)) groups.push_back(&parallel->group());
    // Parameters that are gathered at this moment are plain.
    const FsdpState* state = FsdpState::Find(*module);
    if (!state || !state->group()) continue;
    for (const auto& parameter : state->group()->parameters()) {
      groups.push_back(RanksOf(FindDistribution(*parameter->sharded())->mesh, world));
    }
  }
  for (const auto& [name, parameter] : models::NamedParameters(model)) {
    if (const auto* distribution = FindDistribution(*parameter)) groups.push_back(RanksOf(distribution->mesh, world));
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
