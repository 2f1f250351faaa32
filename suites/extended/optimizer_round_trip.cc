// Optimizer state through a flat state dict and back.
#include <ATen/ATen.h>

#include "suites/extended/coded.h"
#include "suites/extended/coded_step.h"
#include "suites/extended/forms.h"
#include "suites/extended/group_options.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

// What a case of rule OP13 has, in two words: "tied+frozen".
bool Has(const Trial& t, std::string_view what) {
  return fmt::format("+{}+", t.TextParam("with")).find(fmt::format("+{}+", what)) != std::string::npos;
}

// Two of the three layers may have one weight.
ModelSpec MaybeTied(const Trial& t) {
  ModelSpec spec = ThreeBranches();
  if (Has(t, "tied")) {
    spec.args.Set("ties", List{List{"a.weight", "c.weight"}});
    spec.units.clear();
  }
  return spec;
}

// `entries`: options that the loading optimizer lacks.
Optimizer MakeOptimizer(Trial& t, const Model& model, double lr, const Dict& entries = {}) {
  const bool stateless = Has(t, "stateless");
  const auto with_lr = [&](double of_group) {
    OptimizerOptions options = stateless ? OptimizerOptions{} : CodedAdam();
    options.lr = of_group;
    return options;
  };
  std::vector<ParameterGroup> groups = {{NamesEndingWith(model, "weight"), with_lr(lr), entries},
                                        {NamesEndingWith(model, "bias"), with_lr(lr / 2), entries}};
  if (Has(t, "empty_group")) groups.insert(groups.begin() + 1, ParameterGroup{{}, with_lr(lr)});
  return t.subject().CreateOptimizer(model, stateless ? "sgd" : "adam", {}, groups);
}

// Int keys, text that looks like one, and names with dots, in the state of each parameter.
void AddNestedState(Optimizer& optimizer) {
  Dict state = optimizer.StateDict();
  for (auto& [name, entries] : state.Find("state")->AsDict()) {
    entries.AsDict().Set("factors", Dict{{int64_t{0}, Coded({2}, 1)},
                                         {"0", 7},
                                         {"left.right", Dict{{"deep", Coded({3}, 2)}, {int64_t{-4}, 0.5}}}});
  }
  optimizer.LoadStateDict(state);
}

}  // namespace

RULE(OP13) {
  Model model = BuildWrapped(t, MaybeTied(t), t.TextParam("wrapper"));
  const Dict added = {{"note", "added"}, {"schedule", List{1, 2.5}}};
  Optimizer source = MakeOptimizer(t, model, 0.25, Has(t, "options") ? added : Dict{});
  CodedStep(t, model, source, 0);
  if (Has(t, "frozen")) model.SetRequiresGrad({"b.weight"}, false);
  if (Has(t, "nested")) AddNestedState(source);
  const Dict nested = GetOptimizerState(model, {source}, "dsd_sharded");
  const Dict flat = GetOptimizerState(model, {source}, "dsd_flat");
  const Optimizer loaded = MakeOptimizer(t, model, 4);
  SetOptimizerState(model, {loaded}, "dsd_flat", flat);
  const Dict again = GetOptimizerState(model, {loaded}, "dsd_sharded");
  t.Rule(SameValue("nested after a flat round trip", nested, InOrderOf(nested, again)));
  t.Rule(SameValue("flat after a flat round trip", flat,
                   InOrderOf(flat, GetOptimizerState(model, {loaded}, "dsd_flat"))));
}

// What a state dict has that was made before these options existed.
RULE(OP23) {
  const std::string kind = t.TextParam("kind"), wrapper = t.TextParam("wrapper");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer saved = t.subject().CreateOptimizer(model, kind, TrainingOptions(kind));
  Train(t, model, {saved}, 0, 1, PartOf(t, wrapper));
  const Dict expected = t.subject().Clone(saved.StateDict()).AsDict();
  Dict older = expected;
  List groups = older.At("param_groups").AsList();
  const std::vector<std::string> flags = {"maximize", kind == "sgd" ? "nesterov" : "amsgrad"};
  for (const std::string& flag : flags) groups[0].AsDict().Erase(flag);
  older.Set("param_groups", groups);
  Optimizer loaded = t.subject().CreateOptimizer(model, kind, TrainingOptions(kind));
  loaded.LoadStateDict(older);
  const Dict group = loaded.StateDict().At("param_groups").AsList().at(0).AsDict();
  for (const std::string& flag : flags) {
    if (!t.Rule(Holds(group.Contains(flag), flag, "is not there after the load"))) continue;
    t.Rule(Equal(flag, false, group.At(flag).AsBool()));
  }
  Train(t, model, {loaded}, 1, 2, PartOf(t, wrapper));
}

RULE(OP29) {
  const std::string kind = t.TextParam("kind"), dtype = t.TextParam("dtype");
  const ModelSpec spec = TreeSpec(BareNode({{"weight", TensorNode({3, 2}, dtype)}}));
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  Optimizer saved = t.subject().CreateOptimizer(model, kind);
  saved.InitState();
  const Dict state = t.subject().Clone(saved.StateDict()).AsDict();
  Optimizer loaded = t.subject().CreateOptimizer(model, kind);
  loaded.LoadStateDict(state);
  t.Rule(SameValue("state after a load of another optimizer of its kind", state, InOrderOf(state, loaded.StateDict())));
}

RULE(OP30) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer saved = t.subject().CreateOptimizer(model, "global_state", {.lr = 0x1p-10});
  Train(t, model, {saved}, 0, 2, PartOf(t, wrapper));
  const Dict state = t.subject().Clone(saved.StateDict()).AsDict();
  t.Rule(Holds(state.At("state").AsDict().Contains("global"), "state under no parameter", "is not there"));
  Optimizer loaded = t.subject().CreateOptimizer(model, "global_state", {.lr = 0x1p-10});
  loaded.LoadStateDict(state);
  t.Rule(SameValue("state after the load", state, loaded.StateDict()));
}

RULE(OP31) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  const ModelSpec spec = TrainedStack();
  Model model = BuildCoded(t, spec);
  Dict views;
  for (const auto& [name, value] : model.Parameters()) {
    const at::Tensor tensor = value.AsTensor().detach();
    views.Set(name, tensor.dim() == 2 ? tensor.t().contiguous().t() : tensor.clone());
  }
  SetState(model, "native", views, {.assign = true});
  Wrap(t, model, spec, wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const Dict given = CodedAdamStateDict(Twin(spec).Parameters());
  SetOptimizerState(model, {optimizer}, form, given);
  const Dict expected = given.At("state").AsDict();
  const Value gotten = GetOptimizerState(model, {optimizer}, form).At("state");
  t.Rule(SameValue("state after a load and a get", expected, InOrderOf(expected, gotten)));
}

RULE(OP47) {
  const std::string wrapper = t.TextParam("wrapper"), frozen = "0.weight";  // of the first id
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  Dict given = t.subject().Clone(optimizer.StateDict()).AsDict();
  if (t.BoolParam("frozen")) model.SetRequiresGrad({frozen}, false);
  given.Find("state")->AsDict().Erase(Key(int64_t{0}));
  optimizer.LoadStateDict(given);
  const bool is_there = optimizer.StateDict().At("state").AsDict().Contains(Key(int64_t{0}));
  t.Rule(Equal("whether there is state of " + frozen + ", of which the state dict has none", false, is_there));
}

RULE(OP48) {
  const std::string form = t.TextParam("form"), frozen = "a.weight";
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  CodedStep(t, model, optimizer, 0);
  model.SetRequiresGrad({frozen}, false);
  Dict given = t.subject().Clone(GetOptimizerState(model, {optimizer}, form)).AsDict();
  const Dict whole = GetOptimizerState(model, {optimizer}, "dsd_full");
  given.Find("state")->AsDict().Erase(frozen);
  SetOptimizerState(model, {optimizer}, form, given);
  const Dict after = GetOptimizerState(model, {optimizer}, "dsd_full").At("state").AsDict();
  if (!t.Rule(Holds(after.Contains(frozen), frozen, "has no state any more"))) return;
  t.Rule(SameValue(frozen, whole.At("state").AsDict().At(frozen), after.At(frozen)));
}

}  // namespace shardcts::extended
