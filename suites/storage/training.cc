// Training that goes on from a checkpoint.
#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "rank/whole.h"
#include "suites/rules/coded.h"
#include "suites/rules/comparison.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/trained.h"

namespace shardcts::storage {
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

RULE(OM2) {
  // In the phase that loads the optimizer has no state: it has made no step.
  Trained trained = BuildTrained(t, Saves(t) ? 1 : 2);
  if (Saves(t)) {
    for (int64_t step = 0; step < 2; ++step) TrainStep(trained, step);
    return SaveCheckpoint(t.caller(), StateOf(trained), "trained");
  }
  Restore(t, trained, "trained");
  TrainStep(trained, 2);
  Trained twin = BuildTrained(t, 1, /*whole=*/true);
  for (int64_t step = 0; step < 3; ++step) TrainStep(twin, step);
  // Gradients are averaged over other numbers of ranks, so that they differ in their last bits.
  const CompareOptions close{.tolerance = {.rtol = 0, .atol = 0x1p-18}};
  const Dict expected = t.subject().Clone(twin.model.StateDict()).AsDict();
  t.Rule(SameValue("after the next step", expected, WholeDict(t, GetModelStateDict(trained.model)), close));
}

RULE(OM3) {
  const Dict buffer{{"kept", Dict{{"shape", ToValue(std::vector<int64_t>{5})}}}};
  const Value extra = Saves(t) ? Value("what was saved") : Value("what was there");
  const Dict children{{"first", Dict{{"kind", "linear"}, {"out", 7}, {"buffers", buffer}}},
                      {"second", Dict{{"kind", "linear"}, {"out", 3}, {"extra_state", extra}}}};
  Model model = t.subject().Build("tree", {{"root", Dict{{"kind", "sequential"}, {"children", children}}},
                                           {"frozen", List{"first.weight"}}}, t.device());
  Dict tensors = model.Parameters();
  for (const auto& [name, value] : model.Buffers()) tensors.Set(name, value);
  const Dict coded = rules::CodedLike(tensors);
  model.SetValues(coded);
  if (!Saves(t)) model.Fill(-1, /*buffers=*/true);
  for (const char* path : {"first", ""}) model.FullyShard(path);
  if (Saves(t)) return SaveCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}}, "model");
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}}, "model");
  SetModelStateDict(model, loaded.At("model").AsDict());
  Dict expected = coded;
  expected.Set("second._extra_state", "what was saved");
  t.Rule(SameValue("the model", expected, InOrderOf(expected, WholeDict(t, GetModelStateDict(model)))));
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

RULE(OM6) {
  const Dict unused{{"kind", "linear"}, {"out", 4}, {"unused", true}};
  const Dict children{{"used", Dict{{"kind", "linear"}, {"out", 4}}}, {"unused", unused}};
  Model model = t.subject().Build("tree", {{"root", Dict{{"kind", "sequential"}, {"children", children}}}, {"in", 3}}, t.device());
  model.Fill(0.5);
  model.FullyShard("");
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  if (Saves(t)) {
    model.Backward(model.Forward({Value(at::ones({2, 3}).to(c10::Device(t.device())))}));
    optimizer.Step();
    return SaveCheckpoint(t.caller(), {{"optimizer", GetOptimizerStateDict(model, {optimizer})}}, "trained");
  }
  const Dict wanted{{"optimizer", GetOptimizerStateDict(model, {optimizer})}};
  const Dict loaded = LoadCheckpoint(t.caller(), wanted, "trained");
  SetOptimizerStateDict(model, {optimizer}, loaded.At("optimizer").AsDict());
  const Dict states = WholeDict(t, loaded.At("optimizer").AsDict().At("state").AsDict());
  for (const auto& [name, state] : states) {
    const bool is_used = ToString(name).starts_with("used.");
    const bool has_moments = state.AsDict().At("exp_avg_sq").AsTensor().abs().max().item<double>() > 0;
    t.Rule(Equal(ToString(name) + ": whether its second moment is more than 0", is_used, has_moments));
  }
}

}  // namespace shardcts::storage
