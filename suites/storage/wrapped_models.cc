// Models: what one wrapper has saved loads into another.
#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "rank/whole.h"
#include "suites/extended/group_options.h"
#include "suites/extended/wrapping.h"
#include "suites/rules/comparison.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/trained.h"

namespace shardcts::storage {
namespace {

// Three layers with 8, 5 and 4 outputs; the first two are in the tensor-parallel plan.
extended::ModelSpec Stack() {
  return {.name = "linear_stack",
          .args = {{"sizes", ToValue(std::vector<int64_t>{6, 8, 5, 4})}},
          .units = {"0", "1"},
          .plan = {{"0", "colwise"}, {"1", "rowwise"}}};
}

// AdamW with a group of the weights and one of the biases.
Trained WrappedInTwoGroups(Trial& t, const std::string& wrapper, double lr) {
  Model model = BuildStack(t, 1);
  extended::Wrap(t, model, StackInTraining(), wrapper);
  const std::vector<ParameterGroup> groups = {{extended::NamesEndingWith(model, "weight"), {.lr = lr}},
                                              {extended::NamesEndingWith(model, "bias"), {.lr = lr / 2}}};
  return {model, t.subject().CreateOptimizer(model, "adamw", {}, groups)};
}

Dict OptimizerState(const Trained& trained) { return GetOptimizerStateDict(trained.model, {trained.optimizer}); }

}  // namespace

RULE(RS5) {
  const extended::ModelSpec spec = Stack();
  Model model = extended::BuildCoded(t, spec);
  const Dict expected = t.subject().Clone(model.StateDict()).AsDict();
  if (!Saves(t)) model.Fill(-1);
  extended::Wrap(t, model, spec, t.TextParam("wrapper"));
  if (Saves(t)) return SaveCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}}, "checkpoint");
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}}, "checkpoint");
  rules::SameWholeState(t, "what was loaded", expected, loaded.At("model").AsDict());
  SetModelStateDict(model, loaded.At("model").AsDict());
  rules::SameWholeState(t, "the model", expected, GetModelStateDict(model));
  const Value read = ReadCheckpoint(t.caller(), "checkpoint").At("model");
  t.Rule(SameValue("what was read", expected, InOrderOf(expected, read)));
}

RULE(RS12) {
  const Dict parameters{{"rows", Dict{{"shape", ToValue(std::vector<int64_t>{4, 3})}}},
                        {"nothing", Dict{{"shape", ToValue(std::vector<int64_t>{0, 3})}}}};
  const extended::ModelSpec spec{.name = "tree", .args = {{"root", Dict{{"kind", "bare"}, {"parameters", parameters}}}}};
  Model model = extended::BuildCoded(t, spec);
  const Dict expected = t.subject().Clone(model.StateDict()).AsDict();
  if (!Saves(t)) model.Fill(-1);
  extended::Wrap(t, model, spec, t.TextParam("wrapper"));
  if (Saves(t)) return SaveCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}}, "checkpoint");
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}}, "checkpoint");
  SetModelStateDict(model, loaded.At("model").AsDict());
  rules::SameWholeState(t, "the model", expected, GetModelStateDict(model));
  const Value read = ReadCheckpoint(t.caller(), "checkpoint").At("model");
  t.Rule(SameValue("what was read", expected, InOrderOf(expected, read)));
}

RULE(OM5) {
  Trained trained = WrappedInTwoGroups(t, t.TextParam("wrapper"), Saves(t) ? 1.0 / 64 : 1.0 / 8);
  if (Saves(t)) {
    for (int64_t step = 0; step < 2; ++step) TrainStep(trained, step);
    return SaveCheckpoint(t.caller(), {{"optimizer", OptimizerState(trained)}}, "trained");
  }
  const Dict loaded = LoadCheckpoint(t.caller(), {{"optimizer", OptimizerState(trained)}}, "trained");
  SetOptimizerStateDict(trained.model, {trained.optimizer}, loaded.At("optimizer").AsDict());
  Trained twin = WrappedInTwoGroups(t, "plain", 1.0 / 64);
  for (int64_t step = 0; step < 2; ++step) TrainStep(twin, step);
  // Gradients are averaged over other numbers of ranks, so that they differ in their last bits.
  const CompareOptions close{.tolerance = {.rtol = 0, .atol = 0x1p-18}};
  const Value expected = t.subject().Clone(OptimizerState(twin));
  t.Rule(SameValue("the optimizer", expected, InOrderOf(expected, WholeDict(t, OptimizerState(trained))), close));
}

}  // namespace shardcts::storage
