// The state of optimizers by names without wrappers: saved and loaded, full or sharded.
// Semantics: torch.distributed.checkpoint.state_dict.get_optimizer_state_dict and set_optimizer_state_dict, torch 2.13.
//
//   {state: {name: {state name: value}}, param_groups: [{hyper-parameters…, params: [name]}]}
//
// Moments have the placements of their parameter, "step" is a plain tensor. A tied parameter is listed under its first
// name.
#pragma once

#include <vector>

#include "agreement/rank_agreement.h"
#include "dsd/options.h"
#include "models/module.h"
#include "optim/optimizer.h"

namespace shardcts::reference {

// *Collective* where the state is sharded: over the units' groups with FSDP1, over the values' meshes with
// full_state_dict, and over the world where there is one. A trainable parameter without state has that of
// Optimizer::StateAtRest in the result; the optimizer does not change. The states are merged, the groups concatenated.
// RuntimeError: no optimizers, or nothing to save; on every rank: a peer has failed, or has other state. KeyError: a parameter that is not one of the model's.
// NotImplementedError: flattened, a state that is not a tensor, number or dict. ValueError as CheckOptions; with FSDP1
// as SaveOptimState.
Dict GetOptimizerStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers,
                           const StateDictOptions& options, const StateDictContext& context);

// *Collective* as GetOptimizerStateDict. `state_dict` may also be flat (it has no "state"), or keyed by ids (all keys of
// "state" are ints); it is not changed. Each optimizer takes the entries of its parameters, also of those that do not
// require gradients now; a group takes the hyper-parameters of the saved group with its parameters. What the state dict
// lacks is as before, or as Optimizer::StateAtRest has it.
//
// full_state_dict: full tensors on every rank or, with broadcast_from_rank0, on rank 0, which sends them one by one.
// They are copied into the existing state; state that is not in the state dict does not change.
//
// An error of one rank is a RuntimeError on its peers, and no rank has loaded anything of that optimizer.
// On every rank: RuntimeError: no optimizers; nothing to load; under strict, a trainable parameter without state.
// ValueError: another number of groups without parameters than the state dict has; state of another shape
// (CheckStateShapes). Errors of Optimizer::LoadStateDict and OptimStateToLoad.
void SetOptimizerStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers, const Dict& state_dict,
                           const StateDictOptions& options, const StateDictContext& context);

// *Collective* over the units' groups. The state of an optimizer over a model with units, in the form that these options
// load; where rank 0 alone gives it, {} on the other ranks.
Dict StateOfUnits(models::Module& model, const Optimizer& optimizer, const StateDictOptions& options,
                  const StateDictContext& context);

// *Local*. Optimizer::StateDict with moments placed like their parameters, and the inverse of it with
// Optimizer::LoadStateDict. RuntimeError: a plain tensor for a parameter that is a DTensor.
Dict GetPlacedStateDict(const Optimizer& optimizer);
void SetPlacedStateDict(Optimizer& optimizer, const Dict& state_dict, const StateDictContext& context);

// *Collective* over the world. RuntimeError, on every rank: a rank has no optimizers, or another number of them.
void AgreeOnOptimizers(const std::vector<Optimizer*>& optimizers, const StateDictContext& context,
                       RankAgreement& agreement);

// *Local*. The units whose ranks exchange optimizer state: all ranks with a hybrid strategy, else the first unit's group.
Communicator& UnitsGroup(models::Module& model, Communicator& world);

}  // namespace shardcts::reference
