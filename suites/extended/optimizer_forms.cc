// Optimizer state of other forms than moments: nested, of shapes of its own, flat; a learning rate that is a tensor.
#include <ATen/ATen.h>

#include "rank/session.h"
#include "rank/whole.h"
#include "suites/extended/coded.h"
#include "suites/extended/coded_step.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/group_options.h"
#include "suites/extended/rule.h"
#include "suites/extended/trees.h"
#include "suites/extended/twin.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {
namespace {

// What the kind nested_state keeps after `steps` steps, whose gradients add up to this.
Dict NestedState(int64_t steps, const at::Tensor& sum) {
  const auto count = static_cast<double>(steps);
  return {{"count", steps},
          {"seen", true},
          {"label", "nested"},
          {"nothing", nullptr},
          {"total", at::scalar_tensor(count, at::kFloat)},
          {"pair", at::tensor({count, 2 * count}, at::kFloat)},
          {"moment", sum},
          {"levels", Dict{{int64_t{1}, Dict{{"two", Dict{{int64_t{2}, sum.mul(2)}}}}}}},
          {"items", List{sum.mul(3), "text", 3, false}}};
}

Dict NestedStates(const Trial& t, int64_t steps) {
  Dict states;
  for (const auto& [name, value] : CodedGradients(t, 0)) {
    at::Tensor sum = value.AsTensor();
    for (int64_t step = 1; step < steps; ++step) sum = sum.add(CodedGradients(t, step).At(name).AsTensor());
    states.Set(name, NestedState(steps, sum));
  }
  return states;
}

Value WithoutText(const Value& value) {
  if (const auto* list = value.TryAs<List>()) {
    List kept;
    for (const Value& entry : *list) {
      if (!entry.TryAs<std::string>()) kept.push_back(WithoutText(entry));
    }
    return kept;
  }
  const auto* dict = value.TryAs<Dict>();
  if (!dict) return value;
  Dict kept;
  for (const auto& [key, entry] : *dict) {
    if (!entry.TryAs<std::string>()) kept.Set(key, WithoutText(entry));
  }
  return kept;
}

// The saved state dict, on ranks that have one, with this state.
Dict WithState(const Dict& saved, const std::function<Value(const Value& state)>& change) {
  Dict changed = saved;
  if (const Value* state = saved.Find("state")) changed.Set("state", change(*state));
  return changed;
}

// Each tensor with the parameter's shape has its placements, at every depth.
void FollowsLayout(Trial& t, const std::string& path, const DTensor& parameter, const Value& state) {
  if (const auto* dtensor = state.TryAs<DTensor>()) {
    t.Rule(HasLayout(path, parameter.mesh, parameter.placements, state));
    t.Rule(Equal(path + ": local shape", parameter.local.sizes().vec(), dtensor->local.sizes().vec()));
  } else if (const auto* tensor = state.TryAs<Tensor>()) {
    const bool shaped = tensor->data.dim() > 0 && tensor->data.sizes() == at::IntArrayRef(parameter.shape);
    t.Rule(Holds(!shaped, path, "expected a DTensor placed like the parameter, actual a plain tensor"));
  } else if (const auto* dict = state.TryAs<Dict>()) {
    for (const auto& [key, entry] : *dict) FollowsLayout(t, path + "." + ToString(key), parameter, entry);
  } else if (const auto* list = state.TryAs<List>()) {
    for (size_t i = 0; i < list->size(); ++i) FollowsLayout(t, fmt::format("{}[{}]", path, i), parameter, list->at(i));
  }
}

void FollowsLayouts(Trial& t, const Dict& parameters, const Dict& state) {
  for (const auto& [name, parameter] : parameters) {
    const auto* dtensor = parameter.TryAs<DTensor>();
    if (dtensor) FollowsLayout(t, ToString(name), *dtensor, state.At(name));
  }
}

// Of two biases of 2 and 4 elements, on two ranks: `pair` has the global shape of the first, the local of the second.
const ModelSpec kShapesOfPair = {.name = "linear_stack", .args = {{"sizes", ToValue(std::vector<int64_t>{3, 2, 4})}}};

void HasPair(Trial& t, const std::string& what, double count, const Dict& by_name) {
  for (const auto& [name, state] : by_name) {
    t.Rule(SameValue(fmt::format("{}: pair of {}", what, ToString(name)), at::tensor({count, 2 * count}, at::kFloat),
                     state.AsDict().At("pair")));
  }
}

}  // namespace

RULE(OP11) {
  const std::string form = t.TextParam("form");
  const bool text = t.BoolParam("text");
  const auto given = [&](const Dict& state) { return text ? state : WithoutText(state).AsDict(); };
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "nested_state", {.lr = 0x1p-10});
  CodedStep(t, model, optimizer, 0);
  const Dict saved = GetOptimizerState(model, {optimizer}, form);
  HasStateByName(t, "saved", form, NestedStates(t, 1), saved);
  if (form == "dsd_sharded") FollowsLayouts(t, model.Parameters(), saved.At("state").AsDict());

  const Optimizer loaded = t.subject().CreateOptimizer(model, "nested_state", {.lr = 0x1p-10});
  SetOptimizerState(model, {loaded}, form, WithState(saved, [&](const Value& state) {
    return Value(given(state.AsDict()));
  }));
  const Dict again = WithState(GetOptimizerState(model, {loaded}, form),
                               [&](const Value& state) { return Value(given(state.AsDict())); });
  HasStateByName(t, "saved, loaded and saved again", form, given(NestedStates(t, 1)), again);
  CodedStep(t, model, loaded, 1);
  const Dict stepped = WithState(GetOptimizerState(model, {loaded}, form),
                                 [&](const Value& state) { return Value(given(state.AsDict())); });
  HasStateByName(t, "after a step of what was loaded", form, given(NestedStates(t, 2)), stepped);
}

RULE(OP12) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kShapesOfPair, t.TextParam("wrapper"));
  const auto make = [&] { return t.subject().CreateOptimizer(model, "nested_state", {.lr = 0x1p-10}); };
  const Optimizer optimizer = make();
  TrainOneStep(t, model, {optimizer});
  const Dict saved = GetOptimizerState(model, {optimizer}, form);
  HasPair(t, "saved", 1, ForAllRanks(t, form, saved).At("state").AsDict());
  const Optimizer loaded = make();
  SetOptimizerState(model, {loaded}, form, saved);
  HasPair(t, "saved, loaded and saved again", 1,
          ForAllRanks(t, form, GetOptimizerState(model, {loaded}, form)).At("state").AsDict());
}

// Two groups shared one tensor when they were saved.
RULE(OP17) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const auto make = [&](double lr) {
    const at::Tensor tensor = at::scalar_tensor(lr, at::kFloat);
    return t.subject().CreateOptimizer(model, "adam", {.lr_tensor = tensor},
                                       {{NamesEndingWith(model, "weight")}, {NamesEndingWith(model, "bias")}});
  };
  const Optimizer saved = make(0.25);
  const Optimizer loaded = make(0.5);
  SetOptimizerState(model, {loaded}, form, GetOptimizerState(model, {saved}, form));
  const Value first = GroupOf(loaded, 0).At("lr");
  const Value second = GroupOf(loaded, 1).At("lr");
  t.Rule(SameValue("lr of the first group", at::scalar_tensor(0.25, at::kFloat), first));
  t.Rule(SameValue("lr of the second group", at::scalar_tensor(0.25, at::kFloat), second));
  if (!first.TryAs<Tensor>() || !second.TryAs<Tensor>()) return;
  t.Rule(Equal("address of lr in the second group", DataPointer(first), DataPointer(second)));
}

// The option of the loading optimizer, for which it has one moment more than what was saved, becomes the saved one.
RULE(OP38) {
  const std::string kind = t.TextParam("optimizer");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  OptimizerOptions smaller = {.lr = 0x1p-10}, larger = smaller;
  larger.amsgrad = kind == "adam" ? std::optional(true) : std::nullopt;
  larger.centered = kind == "rmsprop" ? std::optional(true) : std::nullopt;
  const Optimizer saving = t.subject().CreateOptimizer(model, kind, smaller);
  CodedStep(t, model, saving, 0);
  const Dict saved = GetOptimizerState(model, {saving}, "dsd_full");
  const Optimizer loading = t.subject().CreateOptimizer(model, kind, larger);
  CodedStep(t, model, loading, 1);
  SetOptimizerState(model, {loading}, "dsd_full", saved);
  const Dict parameters = Twin(ThreeBranches()).Parameters();
  const auto is_placed = [&](const Optimizer& optimizer) {
    FollowsLayouts(t, model.Parameters(), GetOptimizerState(model, {optimizer}, "dsd_sharded").At("state").AsDict());
    for (const auto& [name, state] : GetOptimizerState(model, {optimizer}, "dsd_full").At("state").AsDict()) {
      for (const auto& [entry, value] : state.AsDict()) {
        if (entry == Key("step")) continue;
        t.Rule(Equal(ToString(name) + "." + ToString(entry) + ": shape", parameters.At(name).AsTensor().sizes().vec(),
                     value.AsTensor().sizes().vec()));
      }
    }
  };
  is_placed(loading);
}

RULE(OP39) {
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const auto make = [&] {
    return t.subject().CreateOptimizer(model, "sgd", {.lr = 0x1p-10, .momentum = 0.5}, {{model.Parameters().Keys(), {}}},
                                       /*named=*/true);
  };
  const Optimizer optimizer = make();
  CodedStep(t, model, optimizer, 0);
  const Value saved = t.subject().Clone(optimizer.StateDict().At("state"));
  FollowsLayouts(t, model.Parameters(), saved.AsDict());
  Dict expected;
  for (const auto& [name, gradient] : CodedGradients(t, 0)) expected.Set(name, Dict{{"momentum_buffer", gradient}});
  HasEntries(t, "state by names", expected, saved.AsDict());
  const Value whole = t.subject().Clone(optimizer.StateDict());
  Optimizer loaded = make();
  loaded.InitState();
  loaded.LoadStateDict(whole.AsDict());
  t.Rule(SameValue("state after a load", saved, InOrderOf(saved, loaded.StateDict().At("state"))));
  for (const auto& [name, state] : whole.AsDict().At("state").AsDict()) {
    t.subject().Fill(state.AsDict().At("momentum_buffer"), 7);
  }
  t.Rule(SameValue("state after what was loaded has changed", saved, InOrderOf(saved, loaded.StateDict().At("state"))));
}

RULE(OP40) {
  const std::string form = t.TextParam("form"), kind = t.TextParam("optimizer");
  const Dict integers{{"q", TensorNode({3}, "int64", {{"unused", true}})}};
  Model model = BuildWrapped(t, TreeSpec(LinearNode(4, {{"bias", false}, {"parameters", integers}}), {{"in", 2}}),
                             t.TextParam("wrapper"));
  const auto make = [&] { return t.subject().CreateOptimizer(model, kind, {.lr = 0x1p-10}); };
  Optimizer optimizer = make();
  model.Backward(model.Forward({Value(at::ones({1, 2}).to(c10::Device(t.device())))}));
  optimizer.Step();
  optimizer.ZeroGrad();
  const Dict saved = t.subject().Clone(GetOptimizerState(model, {optimizer}, form)).AsDict();
  t.Rule(SameNames("names with state", {"weight"}, saved.At("state").AsDict().Keys()));
  const Optimizer loaded = make();
  SetOptimizerState(model, {loaded}, form, saved);
  t.Rule(SameValue("saved, loaded and saved again", saved, InOrderOf(saved, GetOptimizerState(model, {loaded}, form))));
}

RULE(OP41) {
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  Optimizer optimizer =
      t.subject().CreateOptimizer(model, "adam", {.lr_tensor = at::scalar_tensor(0.5, at::kFloat)});
  const auto rate = [&] { return optimizer.StateDict().At("param_groups").AsList().at(0).AsDict().At("lr"); };
  optimizer.Schedule(0.5);
  const uintptr_t place = DataPointer(rate());
  optimizer.AdvanceSchedule();
  t.Rule(SameValue("rate", at::scalar_tensor(0.25, at::kFloat), rate().AsTensor().to(at::kCPU)));
  t.Rule(Equal("where the rate is", place, DataPointer(rate())));
}

RULE(OP42) {
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.5, .momentum = 0.5});
  const Value before = t.subject().Clone(GetState(model, "dsd_full"));
  model.Backward(model.Forward({Value(at::ones({1, 3}).to(c10::Device(t.device())))}));
  optimizer.InitState();
  t.Rule(SameValue("parameters", before, GetState(model, "dsd_full")));
  for (const auto& [name, state] : GetOptimizerState(model, {optimizer}, "dsd_full").At("state").AsDict()) {
    t.Rule(AllElementsAre("momentum of " + ToString(name), 0, state.AsDict().At("momentum_buffer")));
  }
}

}  // namespace shardcts::extended
