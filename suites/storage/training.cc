// Training that goes on from a checkpoint.
#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "rank/whole.h"
#include "suites/rules/coded.h"
#include "suites/rules/comparison.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

struct Trained {
  Model model;
  Optimizer optimizer;
};

// Three layers with 7, 5 and 3 outputs, fully sharded, with small values that are binary fractions.
Trained BuildTrained(Trial& t, double scale) {
  Model model =
      t.subject().Build("linear_stack", {{"sizes", ToValue(std::vector<int64_t>{4, 7, 5, 3})}}, t.device());
  Dict values;
  for (const auto& [name, coded] : rules::CodedLike(model.Parameters())) {
    values.Set(name, coded.AsTensor() * (scale / 65536));
  }
  model.SetValues(values);
  for (const char* path : {"0", "1", ""}) model.FullyShard(path);
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

}  // namespace

RULE(RT5) {
  Trained trained = BuildTrained(t, 1);
  for (int64_t step = 0; step < 2; ++step) TrainStep(trained, step);
  SaveCheckpoint(t.caller(), StateOf(trained), "trained");
  TrainStep(trained, 2);
  const Value expected = t.subject().Clone(StateOf(trained));
  Trained resumed = BuildTrained(t, 2);
  Restore(t, resumed, "trained");
  TrainStep(resumed, 2);
  t.Rule(SameValue("after the next step", expected, InOrderOf(expected, StateOf(resumed))));
}

RULE(OM1) {
  Trained trained = BuildTrained(t, 1);
  for (int64_t step = 0; step < 3; ++step) TrainStep(trained, step);
  const Dict saved = t.subject().Clone(StateOf(trained)).AsDict();
  SaveCheckpoint(t.caller(), StateOf(trained), "trained");
  Trained other = BuildTrained(t, 2);
  Restore(t, other, "trained");
  const Value expected = WholeDict(t, saved.At("optimizer").AsDict());
  const Value actual = WholeDict(t, GetOptimizerStateDict(other.model, {other.optimizer}));
  t.Rule(SameValue("the optimizer", expected, InOrderOf(expected, actual)));
  for (const auto& [name, state] : actual.AsDict().At("state").AsDict()) {
    t.Rule(SameValue(ToString(name) + ": step", at::full({}, 3.0f), state.AsDict().At("step")));
  }
}

}  // namespace shardcts::storage
