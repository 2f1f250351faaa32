// The façade of the distributed state-dict API: state of model and optimizer by canonical names, however the model is
// wrapped.
//
// As in facade.h, every function is one operation of the table (docs/contract.md), which gives its semantics and says
// whether it is *Collective*. It throws OperationFailed when the implementation returns an error.
//
// A model state dict is {FQN: value}, an optimizer state dict {state: {FQN: {state name: value}}, param_groups: list of
// dict}, or flat: {state.FQN.NAME: value, param_groups.FQN.OPTION: value}.
#pragma once

#include <string>
#include <vector>

#include "contract/facade.h"

namespace shardcts {

// Semantics: torch.distributed.checkpoint.state_dict.StateDictOptions.
struct StateDictOptions {
  bool full_state_dict = false;
  bool cpu_offload = false;
  bool ignore_frozen_params = false;
  bool keep_submodule_prefixes = true;
  bool strict = true;
  bool broadcast_from_rank0 = false;
  bool flatten_optimizer_state_dict = false;
  std::string dsd_fqn_modifiers;  // name of the modules' method; empty: the default
};

// What a call takes in addition to its options.
struct StateDictCall {
  std::vector<std::string> submodules;        // of get: only the state below these paths; deprecated
  bool by_submodule = false;                  // of set: the state dict is {path: state dict}; deprecated
  bool distributed = true;                    // false: as if no process group had been created
  std::vector<Warning>* warnings = nullptr;   // the warnings of the call are appended
};

struct ModelAndOptimizerState {
  Dict model;
  Dict optimizer;
};

Dict GetModelStateDict(const Model& model, const StateDictOptions& options = {}, const StateDictCall& call = {});
Dict GetOptimizerStateDict(const Model& model, const std::vector<Optimizer>& optimizers,
                           const StateDictOptions& options = {}, const StateDictCall& call = {});
ModelAndOptimizerState GetStateDict(const Model& model, const std::vector<Optimizer>& optimizers,
                                    const StateDictOptions& options = {}, const StateDictCall& call = {});

LoadResult SetModelStateDict(Model& model, const Dict& state_dict, const StateDictOptions& options = {},
                             const StateDictCall& call = {});
void SetOptimizerStateDict(const Model& model, const std::vector<Optimizer>& optimizers, const Dict& state_dict,
                           const StateDictOptions& options = {}, const StateDictCall& call = {});
// An empty model state dict: only the optimizers are loaded.
LoadResult SetStateDict(Model& model, const std::vector<Optimizer>& optimizers, const ModelAndOptimizerState& state,
                        const StateDictOptions& options = {}, const StateDictCall& call = {});

// Afterwards Model::StateDict and Optimizer::StateDict, and the functions that load them, use the functions above.
void PatchModelStateDict(Model& model, const StateDictOptions& options = {});
void PatchOptimizerStateDict(const Model& model, const std::vector<Optimizer>& optimizers,
                             const StateDictOptions& options = {});

// Wrappers. replicate averages gradients and leaves the module in place; compile wraps the complete model.
void WrapReplicate(Model& model);
void WrapCompile(Model& model);

// Moves a submodule to a device; "meta" drops its values.
void MoveSubmodule(Model& model, const std::string& path, const std::string& device);

}  // namespace shardcts
