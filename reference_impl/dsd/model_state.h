// The state of a model by names without wrappers: saved and loaded, full or sharded. Semantics:
// torch.distributed.checkpoint.state_dict.get_model_state_dict and set_model_state_dict, torch 2.13.
#pragma once

#include <string>
#include <vector>

#include "dsd/options.h"
#include "models/module.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {

// *Collective* where the model's state dict is (FSDP1), and over the values' meshes with full_state_dict. Returns
// {name: value}; without options the values share storage with the model. `submodules`: paths; only the state below
// them is saved. RuntimeError: nothing to save. ValueError as CheckOptions.
Dict GetModelStateDict(models::Module& model, const std::vector<std::string>& submodules,
                       const StateDictOptions& options, const StateDictContext& context);

// *Local*. Joins {path of a submodule: {name below it: value}} to one state dict of the model.
Dict JoinSubmodules(const Dict& by_submodule, const StateDictContext& context);

// *Collective* where LoadStateDict is, and over the world with broadcast_from_rank0. `state_dict` is not changed.
//
// full_state_dict: every rank has full tensors and takes its part of each. broadcast_from_rank0: only rank 0 has them,
// and sends one at a time, when its turn comes; another rank never holds more than one in addition to what it keeps. In
// both cases what is on the meta device is replaced; all else is copied into.
//
// Errors as LoadStateDict, on every rank; a name that is missing from a full state dict counts as missing.
// RuntimeError: nothing to load; rank 0 has sharded values to broadcast. ValueError as CheckOptions; "Multiple devices
// found": a model on several devices, not counting the meta device.
LoadResult SetModelStateDict(models::Module& model, const Dict& state_dict, const StateDictOptions& options,
                             const StateDictContext& context);

}  // namespace shardcts::reference
