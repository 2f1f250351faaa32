// Optimizer state of parameters that are DTensors in a model with FSDP1 units, which do not manage them: a
// tensor-parallel layer beside units. The units' functions pass such state on; here it gets the form of a state dict,
// and becomes the optimizer's again.
#pragma once

#include "agreement/rank_agreement.h"
#include "dsd/options.h"
#include "models/module.h"
#include "optim/optimizer.h"

namespace shardcts::reference {

// The optimizer's state dict with state at rest, in which such state has the parameter's placements or, with
// full_state_dict, is whole; with cpu_offload, too, {} where InFormOf keeps nothing. *Collective* over the world and the
// meshes with full_state_dict, otherwise *Local*. RuntimeError on every rank: the ranks have other state of that kind.
Dict StateBesideUnits(models::Module& model, const Optimizer& optimizer, const StateDictOptions& options,
                      const StateDictContext& context);

// Of a state dict in the optimizer's layout: such state becomes this rank's parts. *Collective* over the world, and over
// the meshes of what must be redistributed. Errors as LocalState.
void TakePartsBesideUnits(models::Module& model, const Optimizer& optimizer, Dict& state_dict,
                          const StateDictOptions& options, const StateDictContext& context, RankAgreement& agreement);

}  // namespace shardcts::reference
