// Model and optimizers together. Semantics: torch.distributed.checkpoint.state_dict.get_state_dict and set_state_dict,
// torch 2.13. *Collective* and errors as model_state.h and optimizer_state.h.
#pragma once

#include <string>
#include <vector>

#include "dsd/model_state.h"
#include "dsd/optimizer_state.h"

namespace shardcts::reference {

struct ModelAndOptimizerState {
  Dict model;
  Dict optimizer;
};

// Without optimizers their part of the result is {}.
ModelAndOptimizerState GetStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers,
                                    const std::vector<std::string>& submodules, const StateDictOptions& options,
                                    const StateDictContext& context);

// Loads the optimizers first. An empty model state dict: loads the optimizers only. RuntimeError: in that case there
// are no optimizers.
LoadResult SetStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers,
                        const ModelAndOptimizerState& state, const StateDictOptions& options,
                        const StateDictContext& context);

}  // namespace shardcts::reference
