// Loading: entries of another shape.
#include <ATen/ATen.h>

#include "contract/fsdp_optim.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"

namespace shardcts::extended {
namespace {

using Shapes = std::vector<std::vector<int64_t>>;

constexpr const char* kWeight = "1.weight";  // (5, 8)

// Shapes that (5, 8) is not: some can be spread over it, or over a part of it, the first of them over every rank's
// part; then a part's own, larger ones, and the same elements otherwise arranged. Of distributed tensors those that
// their placements can cut.
Shapes OtherShapes(const Value& entry, const std::string& wrapper) {
  Shapes shapes = {{5, 1}, {1, 8}, {1, 1}, {3, 8}, {2, 8}, {10, 8}, {5, 9}, {8, 5}, {0, 8}};
  if (wrapper == "tp") std::swap(shapes[0], shapes[1]);  // cut on dimension 1
  if (entry.TryAs<Tensor>()) {
    for (const std::vector<int64_t>& shape : Shapes{{8}, {1}, {}, {40}, {5, 8, 1}, {1, 5, 8}}) shapes.push_back(shape);
  }
  if (entry.TryAs<ShardedTensor>()) shapes.pop_back();
  return shapes;
}

// Of a flat parameter of 45 elements: no rank's part of these has the size of its shard.
Shapes OtherSizes() { return {{1}, {20}, {90}}; }

// The last rank's shard is shorter than the others'. With its padding it is refused; the others' shards are as they
// must be, and a LOCAL load compares nothing between ranks.
void PaddedShardIsRefused(Trial& t, Model& model, const Dict& good) {
  Dict given = good;
  const Value& flat = good.At("1._flat_param");
  const int64_t padded = flat.AsShardedTensor().metadata.front().sizes.front() * t.world_size();
  given.Set("1._flat_param", InShape(t, flat, {padded}));
  std::string kind;
  try {
    SetState(model, "local", given);
  } catch (const OperationFailed& failed) {
    kind = failed.error().kind;
  }
  const bool is_last = t.rank() == t.world_size() - 1;
  t.Rule(Equal<std::string>("error for a shard with its padding", is_last ? "AssertionError" : "", kind));
}

std::vector<std::string> KindsOfModel(std::string_view form) {
  if (form == "local") return {"RuntimeError", "AssertionError"};
  return {"RuntimeError"};
}

// Only rank 0 has the moment.
std::vector<std::string> KindsOfMoment(const Trial& t, std::string_view form) {
  if (form == "dsd_broadcast" && t.rank() != 0) return {"ValueError", "RuntimeError"};
  return {"ValueError"};
}

Value& MomentIn(Dict& state, std::string_view form, const std::string& moment) {
  if (form == "dsd_flat") return *state.Find(fmt::format("state.{}.{}", kWeight, moment));
  return *state.Find("state")->AsDict().Find(kWeight)->AsDict().Find(moment);
}

}  // namespace

RULE(LO1) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Dict good = SavedFor(t, model, form);
  const std::string name = form == "local" ? "1._flat_param" : kWeight;
  const Dict before = ParametersOf(t, model, wrapper);
  for (const std::vector<int64_t>& shape : form == "local" ? OtherSizes() : OtherShapes(good.At(name), wrapper)) {
    Dict given = good;
    given.Set(name, InShape(t, good.At(name), shape));
    const std::string what = fmt::format("{} of shape {}", name, ShapeToString(shape));
    const auto load = [&] { SetState(model, form, GivenBy(t, form, given)); };
    if (!Refused(t, what, KindsOfModel(form), load)) return;
    SameState(t, "after " + what, before, ParametersOf(t, model, wrapper));
  }
  if (form == "local") PaddedShardIsRefused(t, model, good);
  StaysUsable(t, model, TrainedStack(), wrapper, form, good);
}

RULE(LO2) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  const BatchPart part = PartOf(t, wrapper);
  const auto trained = [&](Model& model) {
    const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
    Train(t, model, {optimizer}, 0, 1, part);
    return optimizer;
  };
  Model model = BuildTrained(t, TrainedStack(), wrapper), other = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = trained(model), other_optimizer = trained(other);
  Dict good = SavedStateFor(t, model, optimizer, form == "legacy" ? "full" : form);
  const Dict before = StateOf(t, model, optimizer, wrapper);
  for (const std::string moment : {"exp_avg", "exp_avg_sq"}) {
    for (const std::vector<int64_t>& shape : OtherShapes(MomentIn(good, form, moment), wrapper)) {
      Dict given = good;
      MomentIn(given, form, moment) = InShape(t, MomentIn(good, form, moment), shape);
      const std::string what = fmt::format("{} of shape {}", moment, ShapeToString(shape));
      const auto load = [&] {
        if (form == "legacy") return void(ShardFullOptimStateDict(given, model, {.optimizer = &optimizer}));
        SetOptimizerState(model, {optimizer}, form, GivenBy(t, form, given));
      };
      if (!Refused(t, what, KindsOfMoment(t, form), load)) return;
      t.Rule(SameValue("state after " + what, before, StateOf(t, model, optimizer, wrapper)));
    }
  }
  if (form == "legacy") return;  // it loads nothing
  SetOptimizerState(model, {optimizer}, form, GivenBy(t, form, good));
  Train(t, model, {optimizer}, 1, 2, part);
  Train(t, other, {other_optimizer}, 1, 2, part);
  SameState(t, "after a good load and a step", ParametersOf(t, other, wrapper), ParametersOf(t, model, wrapper));
}

RULE(LO24) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  const Dict good = SavedStateFor(t, model, optimizer, form), before = StateOf(t, model, optimizer, wrapper);
  for (const std::string moment : {"exp_avg", "exp_avg_sq"}) {
    Dict given = good;
    MomentIn(given, form, moment) = 0.5;
    const auto load = [&] { SetOptimizerState(model, {optimizer}, form, GivenBy(t, form, given)); };
    if (!Refused(t, "a number as " + moment, {"ValueError", "TypeError", "RuntimeError"}, load)) return;
    t.Rule(SameValue("state after a number as " + moment, before, StateOf(t, model, optimizer, wrapper)));
  }
}

RULE(LO26) {
  const ModelSpec spec = TreeSpec(BareNode({{"scale", TensorNode({})}}, {{"count", TensorNode({})}}));
  Model model = BuildCoded(t, spec);
  const at::Tensor one = at::full({1}, 8, at::kFloat).to(c10::Device(t.device()));
  model.LoadStateDict({{"scale", one}, {"count", one.clone()}}, {.assign = t.BoolParam("assign")});
  for (const auto& [name, value] : model.StateDict()) {
    t.Rule(SameValue(ToString(name), at::full({}, 8, at::kFloat).to(one), value.AsTensor().detach()));
  }
}

}  // namespace shardcts::extended
