// The state of a model by names that show no wrapper: saved and loaded, whole or in pieces.
// Semantics: torch.distributed.checkpoint.state_dict.get_model_state_dict and set_model_state_dict, torch 2.13.
#pragma once

#include <string>
#include <vector>

#include "dsd/options.h"
#include "models/module.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {

// *Collective* where the model's state dict is (FSDP1), and over the values' meshes with full_state_dict. {name: value};
// without options the values share storage with the model. `submodules`: paths; only what is below them.
// RuntimeError: nothing to save. ValueError as CheckOptions.
Dict GetModelStateDict(models::Module& model, const std::vector<std::string>& submodules,
                       const StateDictOptions& options, const StateDictContext& context);

// {name below a submodule: value} of each submodule, by their paths → one state dict of the model. *Local*.
Dict JoinSubmodules(const Dict& by_submodule, const StateDictContext& context);

// *Collective* where LoadStateDict is, and over the world with broadcast_from_rank0. `state_dict` is not changed.
//
// full_state_dict: every rank has whole tensors and takes its part of each. broadcast_from_rank0: rank 0 alone has them,
// and sends one at a time, when its turn comes; another rank never has more than one besides what it keeps. With either,
// a model that has parameters on meta gets them by assignment.
//
// Errors as LoadStateDict, on every rank; a name that is missing from a full state dict is missing. RuntimeError: nothing
// to load; rank 0 has pieces to broadcast. ValueError as CheckOptions; "Multiple devices found": a model on several
// devices, meta not counted.
LoadResult SetModelStateDict(models::Module& model, const Dict& state_dict, const StateDictOptions& options,
                             const StateDictContext& context);

}  // namespace shardcts::reference
