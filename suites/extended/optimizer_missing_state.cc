// Optimizers without state, state that a get makes, state that is missing, and state that belongs to no parameter.
#include <ATen/ATen.h>

#include "rank/session.h"
#include "suites/extended/coded_step.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/group_options.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/wrapping.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/trees.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

// Step 1, every moment 0.
bool HasStateAtRest(Trial& t, const std::string& form, const Dict& saved) {
  return HasStateByName(t, "state that the get made", form,
                        ExpectedAdamState().CompletedFor(Twin(ThreeBranches()).Parameters()), saved);
}

// Coupled weight decay, with which a step with a gradient of zeros would not leave the moments at 0.
OptimizerOptions WithDecay(const std::string& kind) {
  OptimizerOptions options = {.lr = 0.25, .weight_decay = 0.5};
  if (kind == "sgd" || kind == "rmsprop") options.momentum = 0.5;
  if (kind == "adam_tensor_lr") {
    options.lr.reset();
    options.lr_tensor = at::scalar_tensor(0.25, at::kFloat);
  }
  return options;
}

// What has dimensions is 0, step is 1.
void IsAtRest(Trial& t, const std::string& path, const Dict& state) {
  for (const auto& [key, value] : state) {
    const std::string name = path + "." + ToString(key);
    if (const auto* nested = value.TryAs<Dict>()) {
      IsAtRest(t, name, *nested);
    } else if (key == Key("step")) {
      t.Rule(SameValue(name, at::scalar_tensor(1, at::kFloat), value));
    } else if (value.AsTensor().dim() > 0) {
      t.Rule(AllElementsAre(name, 0, value));
    }
  }
}

// The state dict without what its test leaves out of the state of b.weight.
Dict WithoutStateOf(const std::string& missing, const Dict& flat) {
  Dict rest;
  for (const auto& [key, value] : flat) {
    const std::string name = ToString(key);
    const bool left_out = missing == "all" ? name.starts_with("state.b.weight.") : name == "state.b.weight." + missing;
    if (!left_out) rest.Set(key, value);
  }
  return rest;
}

// The saved state without the second moment of b.weight.
Dict WithoutSecondMoment(Trial& t, const Dict& saved) {
  Dict rest = t.subject().Clone(saved).AsDict();
  rest.Find("state")->AsDict().Find("b.weight")->AsDict().Erase("exp_avg_sq");
  return rest;
}

}  // namespace

RULE(OP8) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  Optimizer saved = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.25});
  for (const char* when : {"before the first step", "after it"}) {
    const Dict state = GetOptimizerState(model, {saved}, form);
    Optimizer loaded = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.5});
    SetOptimizerState(model, {loaded}, form, state);
    t.Rule(SameValue(fmt::format("lr, loaded {}", when), 0.25, GroupOf(loaded, 0).At("lr")));
    t.Rule(SameNames(fmt::format("parameters with state, loaded {}", when), {},
                     loaded.StateDict().At("state").AsDict().Keys()));
    CodedStep(t, model, loaded, 0);
    CodedStep(t, model, saved, 1);
  }
}

RULE(OP9) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  CodedBackward(t, model, 0);
  const Value before = t.subject().Clone(model.Gradients());
  const Dict saved = GetOptimizerState(model, {optimizer}, form);
  HasStateAtRest(t, form, saved);
  t.Rule(SameValue("gradients after the get", before, model.Gradients()));
  Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {.lr = 0.5});
  SetOptimizerState(model, {loaded}, form, saved);
  t.Rule(SameValue("gradients after the load", before, model.Gradients()));
  t.Rule(SameValue("lr after the load", 0x1p-10, GroupOf(loaded, 0).At("lr")));
}

RULE(OP10) {
  const std::string form = t.TextParam("form");
  const std::string kind = t.TextParam("optimizer");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer =
      t.subject().CreateOptimizer(model, kind == "adam_tensor_lr" ? "adam" : kind, WithDecay(kind));
  const Value before = t.subject().Clone(model.Parameters());
  const Dict by_name = WholeStateByName(t, form, GetOptimizerState(model, {optimizer}, form), {});
  t.Rule(SameNameSet("parameters with state", Twin(ThreeBranches()).Parameters().Keys(), by_name.Keys()));
  IsAtRest(t, "state", by_name);
  t.Rule(SameValue("parameters after the get", before, model.Parameters()));
  for (const auto& [name, gradient] : model.Gradients()) {
    t.Rule(Holds(gradient.IsNone(), "gradient of " + ToString(name) + " after the get", "expected none"));
  }
}

RULE(OP14) {
  const std::string missing = t.TextParam("missing");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  CodedStep(t, model, optimizer, 0);
  const Dict saved = GetOptimizerState(model, {optimizer}, "dsd_flat");
  Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {.lr = 0.5});
  t.RuleRaises("RuntimeError", "b.weight",
               [&] { SetOptimizerState(model, {loaded}, "dsd_flat", WithoutStateOf(missing, saved)); });
  t.Rule(SameValue("lr after the refused load", 0.5, GroupOf(loaded, 0).At("lr")));
  SetOptimizerState(model, {loaded}, "dsd_flat", saved);
  ExpectedAdamState expected;
  expected.Step(CodedGradients(t, 0));
  HasStateByName(t, "loaded after the refused load", "dsd_flat", expected.state(),
                 GetOptimizerState(model, {loaded}, "dsd_flat"));
}

// Saved, or an error that names it.
RULE(OP15) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "global_state", {.lr = 0x1p-10});
  CodedStep(t, model, optimizer, 0);
  try {
    const Dict saved = GetOptimizerState(model, {optimizer}, form);
    const Value* global = saved.At("state").AsDict().Find("global");
    if (!t.Rule(Holds(global != nullptr, "state under no parameter", "must be saved, or refused by name"))) return;
    t.Rule(SameValue("state.global.count", 1, global->AsDict().At("count")));
  } catch (const OperationFailed& failed) {
    const bool names_it = failed.error().message.find("global") != std::string::npos;
    t.Rule(Holds(names_it, "the error", fmt::format("must name the state \"global\": {}", failed.what())));
  }
}

RULE(OP20) {
  const ModelSpec spec = {.name = "linear_stack", .args = {{"sizes", ToValue(std::vector<int64_t>{4, 3})}}};
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const OptimizerOptions options{.lr = 0.5, .momentum = 0.5};
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", options);
  model.Backward(model.Forward({Value(at::ones({2, 4}).to(c10::Device(t.device())))}));
  optimizer.Step();
  const Dict whole = t.subject().Clone(GetOptimizerState(model, {optimizer}, "full")).AsDict();
  Dict given = whole;
  given.Find("state")->AsDict().Erase("0.bias");
  const Optimizer loaded = t.subject().CreateOptimizer(model, "sgd", options);
  SetOptimizerState(model, {loaded}, "full", given);
  const Dict state = GetOptimizerState(model, {loaded}, "full").At("state").AsDict();
  t.Rule(SameValue("0.weight", whole.At("state").AsDict().At("0.weight"), state.At("0.weight")));
  t.Rule(SameValue("0.bias", Dict{{"momentum_buffer", at::zeros({3})}}, state.At("0.bias")));
}

// A whole state dict is put over what the optimizer has, under strict, too, where no unit of FSDP1 manages parameters.
RULE(OP22) {
  const std::string form = t.TextParam("form");
  const bool strict = t.BoolParam("strict");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const auto stepped = [&](const OptimizerOptions& options, int64_t step) {
    const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", options);
    CodedStep(t, model, optimizer, step);
    return optimizer;
  };
  const Dict saved = t.subject().Clone(GetOptimizerState(model, {stepped(CodedAdam(), 0)}, form)).AsDict();
  OptimizerOptions others = CodedAdam();
  others.lr = 0.5;
  const Optimizer loaded = stepped(others, 1);
  ExpectedAdamState given, own;
  given.Step(CodedGradients(t, 0));
  own.Step(CodedGradients(t, 1));
  Dict expected = given.state();
  const auto load = [&] { SetOptimizerState(model, {loaded}, form, WithoutSecondMoment(t, saved), strict); };
  if (strict && form == "dsd_sharded") {
    if (!t.RuleRaises("RuntimeError", "b.weight", load)) return;
    t.Rule(SameValue("lr after the refused load", 0.5, GroupOf(loaded, 0).At("lr")));
    expected = own.state();
  } else {
    load();
    expected.Find("b.weight")->AsDict().Set("exp_avg_sq", own.state().At("b.weight").AsDict().At("exp_avg_sq"));
  }
  HasStateByName(t, "after the load", form, expected, GetOptimizerState(model, {loaded}, form));
}

// Adagrad has its state before the first step.
RULE(OP21) {
  const std::string form = t.TextParam("form");
  const Dict empty = BareNode(Dict{{"none", TensorNode({2, 0, 3})}});
  const ModelSpec spec =
      TreeSpec({{"kind", "sequential"}, {"children", Dict{{"layer", LinearNode(3)}, {"empty", empty}}}});
  Dict expected;
  for (const auto& [name, value] : Twin(spec).Parameters()) {
    const at::Tensor& parameter = value.AsTensor();
    expected.Set(name, Dict{{"step", at::zeros({})}, {"sum", at::full(parameter.sizes(), 0.5)}});
  }
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const OptimizerOptions options{.lr = 0.25, .initial_accumulator_value = 0.5};
  const Optimizer saved = t.subject().CreateOptimizer(model, "adagrad", options);
  const Dict state = t.subject().Clone(GetOptimizerState(model, {saved}, form)).AsDict();
  HasStateByName(t, "saved", form, expected, state);
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adagrad", {.lr = 0.25});
  SetOptimizerState(model, {loaded}, form, state);
  HasStateByName(t, "loaded", form, expected, GetOptimizerState(model, {loaded}, form));
}

RULE(OP24) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  CodedStep(t, model, optimizer, 0);
  Dict state = t.subject().Clone(GetOptimizerState(model, {optimizer}, form)).AsDict();
  const auto load = [&] { SetOptimizerState(model, {optimizer}, form, state); };
  if (form == "dsd_flat") {
    for (const std::string& name : model.Parameters().Keys()) state.Erase("param_groups." + name + ".lr");
    Refused(t, "a flat state dict without lr", {"KeyError", "RuntimeError", "ValueError"}, load);
    return;
  }
  List groups = state.At("param_groups").AsList();
  List names = groups[0].AsDict().At("params").AsList();
  names.push_back("b.nothing");
  groups[0].AsDict().Set("params", names);
  state.Set("param_groups", groups);
  Refused(t, "a group that names what is no parameter", {"KeyError", "RuntimeError", "ValueError"}, load);
}

RULE(OP32) {
  const std::string frozen = "0.weight";  // of the first id
  Model model = BuildTrained(t, TrainedStack(), "plain");
  model.SetRequiresGrad({frozen}, false);
  Wrap(t, model, TrainedStack(), t.TextParam("wrapper"));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  optimizer.InitState();
  t.Rule(Equal("whether the frozen parameter has a gradient", false, !model.Gradients().At(frozen).IsNone()));
  const Dict state = optimizer.StateDict().At("state").AsDict();
  t.Rule(Equal("whether the frozen parameter has state", false, state.Contains(Key(int64_t{0}))));
  t.Rule(Equal("parameters with state", model.Parameters().size() - 1, state.size()));
}

RULE(OP34) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  WrapFsdp(model, "1", FsdpOptionsOf(t, "fsdp_orig"));
  WrapFsdp(model, "", FsdpOptionsOf(t, "fsdp"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const std::vector<std::string> kinds = {"AssertionError", "RuntimeError", "ValueError"};
  WithStateDictType(model, StateDictKind::kFull, [&] {
    const auto get = [&] { OptimStateDict(model, optimizer); };
    Refused(t, "optimizer state over units that differ in use_orig_params", kinds, get);
  });
}

RULE(OP35) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  std::vector<std::string> names;
  for (const auto& [name, value] : model.Parameters()) names.push_back(ToString(name));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {}, {{names, {}}}, /*named=*/true);
  optimizer.InitState();
  const Dict before = t.subject().Clone(optimizer.StateDict()).AsDict();
  Dict more = before;
  Dict& state = more.Find("state")->AsDict().Find(names.back())->AsDict();
  state.Set("max_exp_avg_sq", state.At("exp_avg_sq"));
  Refused(t, "an entry more in the state of a parameter", {"ValueError"}, [&] { optimizer.LoadStateDict(more); });
}

RULE(OP36) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  const auto create = [&](const OptimizerOptions& options) { t.subject().CreateOptimizer(model, "sgd", options); };
  t.RuleRaises("ValueError", "", [&] { create({.momentum = 0.5, .dampening = 0.25, .nesterov = true}); });
  t.RuleRaises("ValueError", "", [&] { create({.nesterov = true}); });
  create({.momentum = 0.5, .nesterov = true});
}

// The loading optimizer has no third moment itself. After one step it is equal to the second.
RULE(OP43) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  OptimizerOptions larger = CodedAdam();
  larger.amsgrad = true;
  const Optimizer saving = t.subject().CreateOptimizer(model, "adam", larger);
  CodedStep(t, model, saving, 0);
  const Dict saved = t.subject().Clone(GetOptimizerState(model, {saving}, form)).AsDict();
  const Optimizer loading = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  if (t.BoolParam("stepped")) CodedStep(t, model, loading, 1);
  SetOptimizerState(model, {loading}, form, GivenBy(t, form, saved));
  ExpectedAdamState given;
  given.Step(CodedGradients(t, 0));
  Dict expected = given.state();
  for (auto& [name, state] : expected) state.AsDict().Set("max_exp_avg_sq", state.AsDict().At("exp_avg_sq"));
  const Dict loaded = GetOptimizerState(model, {loading}, "dsd_sharded");
  HasStateByName(t, "after the load", "dsd_sharded", expected, loaded);
  for (const auto& [name, state] : loaded.At("state").AsDict()) {
    const Value *own = state.AsDict().Find("exp_avg"), *more = state.AsDict().Find("max_exp_avg_sq");
    if (more) t.Rule(Equal(ToString(name) + ": type of max_exp_avg_sq", own->type(), more->type()));
  }
  t.Rule(SameValue("amsgrad", true, GroupOf(loading, 0).At("amsgrad")));
}

RULE(OP44) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const auto make = [&](double lr) {
    return t.subject().CreateOptimizer(model, "adam", {.lr_tensor = at::full({1}, lr, at::kFloat)});
  };
  const Optimizer saving = make(0.25), loading = make(0.5);
  const Dict saved = t.subject().Clone(GetOptimizerState(model, {saving}, form)).AsDict();
  SetOptimizerState(model, {loading}, form, GivenBy(t, form, saved));
  t.Rule(SameValue("lr", at::full({1}, 0.25, at::kFloat), GroupOf(loading, 0).At("lr")));
}

}  // namespace shardcts::extended
