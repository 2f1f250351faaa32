#include "dsd/state_dict_functions.h"

#include "tensor/semantic_error.h"

namespace shardcts::reference {

ModelAndOptimizerState GetStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers,
                                    const std::vector<std::string>& submodules, const StateDictOptions& options,
                                    const StateDictContext& context) {
  ModelAndOptimizerState state;
  state.model = GetModelStateDict(model, submodules, options, context);
  if (!optimizers.empty()) state.optimizer = GetOptimizerStateDict(model, optimizers, options, context);
  return state;
}

LoadResult SetStateDict(models::Module& model, const std::vector<Optimizer*>& optimizers,
                        const ModelAndOptimizerState& state, const StateDictOptions& options,
                        const StateDictContext& context) {
  if (optimizers.empty() && state.model.empty()) {
    throw SemanticError("RuntimeError", "Optimizers are not passed in but optim_only is set to True.");
  }
  if (!optimizers.empty()) SetOptimizerStateDict(model, optimizers, state.optimizer, options, context);
  if (state.model.empty() && !options.broadcast_from_rank0) return {};
  return SetModelStateDict(model, state.model, options, context);
}

}  // namespace shardcts::reference
