#include "suites/storage/trained.h"

#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "contract/storage.h"
#include "suites/rules/coded.h"

namespace shardcts::storage {

extended::ModelSpec StackInTraining() {
  return {.name = "linear_stack",
          .args = {{"sizes", ToValue(std::vector<int64_t>{4, 7, 5, 3})}},
          .units = {"0", "1"}};
}

Model BuildStack(Trial& t, double scale) {
  const extended::ModelSpec spec = StackInTraining();
  Model model = t.subject().Build(spec.name, spec.args, t.device());
  Dict values;
  for (const auto& [name, coded] : rules::CodedLike(model.Parameters())) {
    values.Set(name, coded.AsTensor() * (scale / 65536));
  }
  model.SetValues(values);
  return model;
}

Trained BuildTrained(Trial& t, double scale, bool whole) {
  Model model = BuildStack(t, scale);
  for (const char* path : {"0", "1", ""}) {
    if (!whole) model.FullyShard(path);
  }
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adamw", {.lr = 1.0 / 64});
  return {model, optimizer};
}

void TrainStep(Trained& trained, int64_t step) {
  const at::Tensor input = (at::arange(8, at::kFloat).reshape({2, 4}) + static_cast<double>(step)) / 16;
  trained.model.Backward(trained.model.Forward({input}));
  trained.optimizer.Step();
  trained.optimizer.ZeroGrad();
}

Dict StateOf(const Trained& trained) {
  return {{"model", GetModelStateDict(trained.model)},
          {"optimizer", GetOptimizerStateDict(trained.model, {trained.optimizer})}};
}

void Restore(Trial& t, Trained& trained, const std::string& path) {
  const Dict loaded = LoadCheckpoint(t.caller(), StateOf(trained), path);
  SetModelStateDict(trained.model, loaded.At("model").AsDict());
  SetOptimizerStateDict(trained.model, {trained.optimizer}, loaded.At("optimizer").AsDict());
}

}  // namespace shardcts::storage
