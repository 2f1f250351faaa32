// The façade of the distributed state-dict API: model and optimizer state by canonical names, whatever wraps the model.
//
// As in facade.h: every function is one operation of the table (docs/contract.md), which gives its semantics and says
// whether it is *Collective*; it throws OperationFailed when the implementation answers with an error.
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

// What a call takes beside its options.
struct StateDictCall {
  std::vector<std::string> submodules;        // of get: only what is below these paths; deprecated
  bool by_submodule = false;                  // of set: the state dict is {path: state dict}; deprecated
  bool distributed = true;                    // false: as where no process group was ever made
  std::vector<Warning>* warnings = nullptr;   // gets those of the call
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

// Afterwards Model::StateDict and Optimizer::StateDict, and what loads them, go through the functions above.
void PatchModelStateDict(Model& model, const StateDictOptions& options = {});
void PatchOptimizerStateDict(const Model& model, const std::vector<Optimizer>& optimizers,
                             const StateDictOptions& options = {});

// Wrappers. replicate averages gradients without standing around the module; compile stands around the whole model.
void WrapReplicate(Model& model);
void WrapCompile(Model& model);

// Moves a submodule; "meta" drops its values.
void MoveSubmodule(Model& model, const std::string& path, const std::string& device);
// A learning-rate schedule initial_lr * factor^epoch, at epoch 0: each group gets the entry initial_lr.
void ScheduleExponential(const Model& model, const Optimizer& optimizer, double factor);

}  // namespace shardcts
