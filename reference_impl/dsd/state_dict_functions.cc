#include "dsd/state_dict_functions.h"

#include "agreement/rank_agreement.h"
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
  RankAgreement agreement;
  agreement.Try([&] {
    if (!optimizers.empty() || !state.model.empty()) return;
    throw SemanticError("RuntimeError", "Optimizers are not passed in but optim_only is set to True.");
  });
  bool has_model = !state.model.empty();  // of some rank
  if (context.world) {
    for (const Value& theirs : agreement.Exchange(*context.world, has_model)) {
      has_model |= theirs.type() == Value::Type::kBool && theirs.AsBool();
    }
  }
  agreement.ThrowIfRefused();
  AgreeOnTexts(context.world, agreement, "optimizers", {"has " + std::to_string(optimizers.size())});
  if (!optimizers.empty()) SetOptimizerStateDict(model, optimizers, state.optimizer, options, context);
  if (!has_model) return {};
  return SetModelStateDict(model, state.model, options, context);
}

}  // namespace shardcts::reference
