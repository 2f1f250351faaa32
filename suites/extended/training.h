// Short trainings: the same global batch at every step, whatever the world, so that all wrappers and a twin can train
// alike; and what a training has reached.
#pragma once

#include <string_view>
#include <vector>

#include "rank/trial.h"
#include "suites/extended/twin.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {

// Three layers with 8, 5 and 4 outputs; two units and the root; the first two layers in a tensor-parallel plan, whose
// dimension between them is even at 2 ranks, as a forward needs it.
ModelSpec TrainedStack();

// Values between -1 and 1, all different, as binary fractions: of the k-th tensor (4096 k + i) / 2^15 - 1/2.
Dict SmallValuesLike(const Dict& tensors);

// The model without wrappers with these values, then wrapped. *Collective*.
Model BuildTrained(Trial& t, const ModelSpec& spec, std::string_view wrapper);

// sgd (momentum 1/2), adam, adamw (weight decay 1/16). lr is 1/16 times `lr_factor`.
OptimizerOptions TrainingOptions(std::string_view kind, double lr_factor = 1);

// Which part of the batch a rank has. Ranks that differ in their tensor-parallel coordinate only have the same part.
struct BatchPart {
  int64_t index = 0;
  int64_t count = 1;
};
BatchPart PartOf(const Trial& t, std::string_view wrapper);

// 60 rows of small binary fractions; the same for equal arguments. The part has 60 / count rows; 60 % count == 0.
at::Tensor BatchInput(int64_t step, int64_t width, BatchPart part = {});
// Of the loss with respect to the outputs of the same rows, times count: averaged over the parts it is the gradient of
// the whole batch.
at::Tensor BatchGradient(int64_t step, int64_t width, BatchPart part = {});

// Forward and backward of step number `step`. *Collective*.
void Accumulate(Trial& t, Model& model, int64_t step, BatchPart part);
// Steps [first, last), each Accumulate, step and zero_grad. *Collective*.
void Train(Trial& t, Model& model, std::vector<Optimizer> optimizers, int64_t first, int64_t last, BatchPart part);
// The same of a twin with the whole batch. *Local*.
void Train(Twin& twin, TwinOptimizer& optimizer, int64_t first, int64_t last);

// What the ranks hold: of FSDP1 the full state dict, of all others the registered parameters. *Collective* for FSDP1.
Dict TrainedParameters(Model& model, std::string_view wrapper);
// Evaluates the rule: the parameters are the twin's after k steps, within 8 k W 2^-24 max|p| on W ranks. *Collective*.
void SameAsTwin(Trial& t, std::string_view what, const Twin& twin, int64_t steps, const Dict& parameters);
// The optimizer's state and groups: of FSDP1 the full state dict, of all others its own. *Collective* for FSDP1.
Dict TrainedState(Model& model, const Optimizer& optimizer, std::string_view wrapper);

}  // namespace shardcts::extended
