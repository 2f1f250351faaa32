// A model in training, whose state is saved and loaded.
#pragma once

#include <string>

#include "rank/trial.h"
#include "suites/extended/wrapping.h"

namespace shardcts::storage {

struct Trained {
  Model model;
  Optimizer optimizer;
};

// The model "linear_stack" with 7, 5 and 3 outputs, and the paths of its inner units.
extended::ModelSpec StackInTraining();
// *Local*. With small values that are binary fractions, without wrappers.
Model BuildStack(Trial& t, double scale);
// *Collective*. Fully sharded unless `whole`; AdamW.
Trained BuildTrained(Trial& t, double scale, bool whole = false);
// *Collective*. With the input that belongs to the step.
void TrainStep(Trained& trained, int64_t step);
// *Collective*. {model, optimizer}
Dict StateOf(const Trained& trained);
// *Collective*. From a checkpoint of StateOf.
void Restore(Trial& t, Trained& trained, const std::string& path);

}  // namespace shardcts::storage
