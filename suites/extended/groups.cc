// Parameter groups: their options, on every way through a state dict. Several optimizers are in several_optimizers.cc.
#include <algorithm>

#include "contract/fsdp_optim.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/group_options.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/twin.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {
namespace {

// The saved groups, and this one among them, which is changed; nothing on a rank that saved nothing.
void ChangeSavedGroups(Dict& state, const std::function<void(size_t, Dict&)>& change) {
  Value* groups = state.Find("param_groups");
  if (!groups) return;
  List changed = groups->AsList();
  for (size_t i = 0; i < changed.size(); ++i) change(i, changed[i].AsDict());
  *groups = Value(std::move(changed));
}

// Options of every type, another one in each group.
Dict AddedOptions(size_t group) {
  return {{"lr", 0.5 / static_cast<double>(group + 1)},
          {"betas", List{0.5, 0.25}},
          {"note", fmt::format("group {}", group)},
          {"nothing", nullptr},
          {"schedule", List{1, 2.5, "three"}},
          {"frozen", group == 1}};
}

void HasOptions(Trial& t, const std::string& what, const Optimizer& optimizer, size_t group, const Dict& expected) {
  const Dict actual = GroupOf(optimizer, group);
  for (const auto& [name, value] : expected) {
    const Value* found = actual.Find(name);
    const std::string option = fmt::format("{}: {}", what, ToString(name));
    if (t.Rule(Holds(found != nullptr, option, "expected an option, actual none"))) {
      t.Rule(SameValue(option, value, *found));
    }
  }
}

// The ids of these parameters in an optimizer whose groups have those of `listed`.
List IdsOf(const std::vector<std::string>& names, const std::vector<std::string>& listed) {
  List ids;
  for (const std::string& name : names) ids.push_back(std::ranges::find(listed, name) - listed.begin());
  return ids;
}

// What FSDP1 makes of a state dict for an optimizer with the same groups in the other order.
void HasSavedGroups(Trial& t, const Dict& converted, const std::vector<ParameterGroup>& saved,
                    const std::vector<std::string>& listed) {
  const List groups = converted.At("param_groups").AsList();
  if (!t.Rule(Equal("groups", saved.size(), groups.size()))) return;
  for (size_t i = 0; i < saved.size(); ++i) {
    const std::string group = fmt::format("saved group {}", i);
    t.Rule(SameValue(group + ": lr", *saved[i].options.lr, groups[i].AsDict().At("lr")));
    t.Rule(SameValue(group + ": ids", IdsOf(saved[i].parameters, listed), groups[i].AsDict().At("params")));
  }
}

}  // namespace

RULE(GR1) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const ParameterGroup weights = {NamesEndingWith(model, "weight"), {.lr = 0.25, .weight_decay = 0.5}};
  const ParameterGroup biases = {NamesEndingWith(model, "bias"), {.lr = 0.125, .weight_decay = 0.0625}};
  const Optimizer saved = t.subject().CreateOptimizer(model, "adam", {}, {weights, biases});
  if (t.BoolParam("trained")) TrainOneStep(t, model, {saved});
  const Dict state = GetOptimizerState(model, {saved}, form);

  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {}, {{biases.parameters}, {weights.parameters}});
  if (!form.starts_with("dsd_")) {
    std::vector<std::string> listed = biases.parameters;
    listed.insert(listed.end(), weights.parameters.begin(), weights.parameters.end());
    return HasSavedGroups(t, ConvertedOptimizerState(model, loaded, form, state), {weights, biases}, listed);
  }
  SetOptimizerState(model, {loaded}, form, state);
  HasOptions(t, "the biases, now the first group", loaded, 0, {{"lr", 0.125}, {"weight_decay", 0.0625}});
  HasOptions(t, "the weights, now the second group", loaded, 1, {{"lr", 0.25}, {"weight_decay", 0.5}});
}

RULE(GR2) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const std::vector<ParameterGroup> groups = {{NamesEndingWith(model, "weight")}, {NamesEndingWith(model, "bias")}};
  const Optimizer saved = t.subject().CreateOptimizer(model, "adam", {}, groups);
  Dict state = GetOptimizerState(model, {saved}, form);
  ChangeSavedGroups(state, [](size_t number, Dict& group) {
    for (const auto& [name, value] : AddedOptions(number)) group.Set(name, value);
  });
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {}, groups);
  SetOptimizerState(model, {loaded}, form, state);
  for (size_t group : {size_t{0}, size_t{1}}) {
    HasOptions(t, fmt::format("group {} after the load", group), loaded, group, AddedOptions(group));
  }
}

// A flat state dict names options by parameters, so it cannot hold those of a group without any: there the optimizer
// keeps its own.
RULE(GR3) {
  const std::string form = t.TextParam("form");
  const bool flat = form == "dsd_flat";
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const auto groups = [&](double scale) {
    std::vector<ParameterGroup> made = {{NamesEndingWith(model, "weight"), {.lr = 0.25 * scale}},
                                        {NamesEndingWith(model, "bias"), {.lr = 0.125 * scale}}};
    made.insert(made.begin() + t.IntParam("empty"), ParameterGroup{{}, {.lr = flat ? 0.5 : 0.5 * scale}});
    return made;
  };
  const Optimizer saved = t.subject().CreateOptimizer(model, "adam", {}, groups(1));
  const Dict state = GetOptimizerState(model, {saved}, form);
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {}, groups(4));
  SetOptimizerState(model, {loaded}, form, state);
  const std::vector<ParameterGroup> expected = groups(1);
  for (size_t group = 0; group < expected.size(); ++group) {
    HasOptions(t, fmt::format("group {} with {} parameters", group, expected[group].parameters.size()), loaded, group,
               {{"lr", *expected[group].options.lr}});
  }
}

RULE(GR4) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, "fully_shard");
  const Optimizer saved = t.subject().CreateOptimizer(model, "adam", {.lr = 0.25, .weight_decay = 0.5});
  const Dict state = GetOptimizerState(model, {saved}, form);
  const Optimizer loaded = t.subject().CreateOptimizer(
      model, "adam", {}, {{NamesEndingWith(model, "weight")}, {NamesEndingWith(model, "bias")}});
  SetOptimizerState(model, {loaded}, form, state);
  for (size_t group : {size_t{0}, size_t{1}}) {
    HasOptions(t, fmt::format("half {} of the saved group", group), loaded, group, {{"lr", 0.25}, {"weight_decay", 0.5}});
  }
}

RULE(GR5) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, "fully_shard");
  const Optimizer saved = t.subject().CreateOptimizer(
      model, "adam", {}, {{NamesEndingWith(model, "weight"), {.lr = 0.1}}, {NamesEndingWith(model, "bias"), {.lr = 0.2}}});
  const Dict state = GetOptimizerState(model, {saved}, form);
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam");
  t.RuleRaises("RuntimeError", "lr", [&] { SetOptimizerState(model, {loaded}, form, state); });
}

RULE(GR8) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const std::vector<std::string> owned = NamesBelow(model, "0");  // a complete unit, as FSDP1 demands
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 0.25}, {{owned}});
  TrainOneStep(t, model, {optimizer});
  const Dict state = GetOptimizerState(model, {optimizer}, form);
  const Dict group = state.At("param_groups").AsList().at(0).AsDict();
  t.Rule(SameNameSet("state", owned, state.At("state").AsDict().Keys()));
  t.Rule(SameNames("parameters of the group", owned, group.At("params").AsStrings()));
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {}, {{owned}});
  SetOptimizerState(model, {loaded}, form, state);
  const Dict coded = Twin(kThreeLayers).StateDict();
  const Dict whole = GetModelStateDict(model, {.full_state_dict = true});
  for (const auto& [name, value] : coded) {
    if (ToString(name).starts_with("0.")) continue;
    t.Rule(SameValue(ToString(name) + ", which no optimizer has", value, whole.At(name)));
  }
}

RULE(GR9) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const auto scheduled = [&](double lr) {
    Optimizer optimizer = t.subject().CreateOptimizer(
        model, "adam", {}, {{NamesEndingWith(model, "weight"), {.lr = lr}}, {NamesEndingWith(model, "bias"), {.lr = lr / 2}}});
    optimizer.Schedule(0.5);
    return optimizer;
  };
  const Optimizer saved = scheduled(0.5);
  const Dict state = GetOptimizerState(model, {saved}, form);
  const Optimizer loaded = t.BoolParam("scheduled") ? scheduled(0.0625)
                                                    : t.subject().CreateOptimizer(
                                                          model, "adam", {}, {{NamesEndingWith(model, "weight")},
                                                                              {NamesEndingWith(model, "bias")}});
  SetOptimizerState(model, {loaded}, form, state);
  HasOptions(t, "the weights", loaded, 0, {{"lr", 0.5}, {"initial_lr", 0.5}});
  HasOptions(t, "the biases", loaded, 1, {{"lr", 0.25}, {"initial_lr", 0.25}});
}

RULE(GR10) {
  const ModelSpec spec = {.name = "tied_embedding", .args = {{"vocab", 11}, {"dim", 3}}};
  const Dict by_name = CodedAdamStateDict(Twin(spec).Parameters());
  Model model = BuildCoded(t, spec);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  Dict by_id;
  for (const auto& [name, state] : by_name.At("state").AsDict()) by_id.Set(static_cast<int64_t>(by_id.size()), state);
  for (const OptimizerLayout& layout : {OptimizerLayout{}, OptimizerLayout{.optimizer = &optimizer}}) {
    const std::string with = layout.optimizer ? "with an optimizer: " : "without an optimizer: ";
    const Dict ids = RekeyOptimStateDict(by_name, OptimStateKeyType::kParamId, model, layout);
    t.Rule(SameValue(with + "state by ids", by_id, InOrderOf(by_id, ids.At("state"))));
    const Dict names = RekeyOptimStateDict(ids, OptimStateKeyType::kParamName, model, layout);
    t.Rule(SameValue(with + "and by names again", by_name.At("state"), InOrderOf(by_name.At("state"), names.At("state"))));
  }
}

RULE(GR11) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, "fully_shard");
  const Optimizer saved = t.subject().CreateOptimizer(
      model, "adam", {}, {{NamesEndingWith(model, "weight"), {.lr = 0.25}}, {NamesEndingWith(model, "bias"), {.lr = 0.5}}});
  const Dict state = GetOptimizerState(model, {saved}, form);
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {loaded}, form, state, /*strict=*/false);
  t.Rule(Equal("lr", 0.5, GroupOf(loaded, 0).At("lr").AsDouble()));
}

RULE(GR13) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const Optimizer saved = t.subject().CreateOptimizer(model, "adam", {.lr = 0.25, .weight_decay = 0.5});
  Dict state = GetOptimizerState(model, {saved}, form);
  ChangeSavedGroups(state, [](size_t, Dict& group) { group.Erase("weight_decay"); });
  Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {.lr = 0.5, .weight_decay = 0.0625});
  SetOptimizerState(model, {loaded}, form, state);
  HasOptions(t, "after the load", loaded, 0, {{"lr", 0.25}, {"weight_decay", 0.0625}});
  TrainOneStep(t, model, {loaded});
}

RULE(GR14) {
  Model model = BuildCoded(t, kThreeLayers);
  const std::vector<std::string> weights = NamesEndingWith(model, "weight"), biases = NamesEndingWith(model, "bias");
  const auto named = [&](double lr) {
    return t.subject().CreateOptimizer(model, "adam", {}, {{weights, {.lr = lr}}, {biases, {.lr = lr / 2}}}, /*named=*/true);
  };
  Optimizer saved = named(0.25);
  TrainOneStep(t, model, {saved});
  Dict state = t.subject().Clone(saved.StateDict()).AsDict();
  ChangeSavedGroups(state, [](size_t, Dict& group) {
    List names = group.At("params").AsList();
    std::ranges::reverse(names);
    group.Set("params", std::move(names));
  });
  List turned = state.At("param_groups").AsList();
  std::ranges::reverse(turned);
  state.Set("param_groups", std::move(turned));
  Optimizer loaded = named(0.0625);
  TrainOneStep(t, model, {loaded});  // a named optimizer loads into state that it has
  loaded.LoadStateDict(state);
  HasOptions(t, "the weights, saved as the second group", loaded, 0, {{"lr", 0.25}});
  HasOptions(t, "the biases, saved as the first group", loaded, 1, {{"lr", 0.125}});
  t.Rule(SameValue("state", saved.StateDict().At("state"),
                   InOrderOf(saved.StateDict().At("state").AsDict(), loaded.StateDict().At("state"))));
}

RULE(GR15) {
  Model model = BuildCoded(t, kThreeLayers);
  std::vector<std::string> turned = model.Parameters().Keys();
  std::ranges::reverse(turned);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {}, {{turned}}, /*named=*/true);
  std::vector<std::string> sorted = turned;
  std::ranges::sort(sorted);
  t.Rule(SameNames("parameters of the group", sorted, GroupOf(optimizer, 0).At("params").AsStrings()));
}

RULE(GR16) {
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr_tensor = at::scalar_tensor(0.5, at::kFloat)});
  optimizer.Schedule(0.5);
  for (const double lr : {0.25, 0.125}) {
    optimizer.AdvanceSchedule();
    HasOptions(t, fmt::format("the schedule at {}", lr), optimizer, 0,
               {{"lr", at::scalar_tensor(lr, at::kFloat)}, {"initial_lr", at::scalar_tensor(0.5, at::kFloat)}});
  }
}

RULE(GR17) {
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  Optimizer saved = t.subject().CreateOptimizer(model, "adam", {.lr = 0.5});
  saved.Schedule(0.5);
  saved.AdvanceSchedule();
  Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {.lr = 8});
  loaded.LoadStateDict(saved.StateDict());
  loaded.Schedule(0.5);
  HasOptions(t, "a schedule that begins on loaded groups", loaded, 0, {{"lr", 0.5}, {"initial_lr", 0.5}});
}

RULE(GR18) {
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const auto with_groups = [&](const std::vector<std::vector<std::string>>& names) {
    std::vector<ParameterGroup> groups;
    for (const std::vector<std::string>& one : names) groups.push_back({one, {.lr = 0.25}});
    return t.subject().CreateOptimizer(model, "adam", {}, groups);
  };
  const std::vector<std::string> weights = NamesEndingWith(model, "weight"), biases = NamesEndingWith(model, "bias");
  const Optimizer two = with_groups({weights, biases}), fewer = with_groups({weights});
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 0.5});
  const Value before = t.subject().Clone(optimizer.StateDict());
  for (const auto& [what, other] : {std::pair("two groups", two), std::pair("a group of fewer parameters", fewer)}) {
    const Dict given = other.StateDict();
    if (!Refused(t, what, {"ValueError"}, [&] { optimizer.LoadStateDict(given); })) return;
    t.Rule(SameValue(fmt::format("the optimizer after {}", what), before, optimizer.StateDict()));
  }
}

RULE(GR19) {
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const std::vector<std::string> weights = NamesEndingWith(model, "weight"), biases = NamesEndingWith(model, "bias");
  const Optimizer optimizer = t.subject().CreateOptimizer(
      model, "adagrad", {.initial_accumulator_value = 0.25},
      {{weights, {.initial_accumulator_value = 0.5}}, {biases}});
  const Dict states = optimizer.StateDict().At("state").AsDict();
  t.Rule(Equal("parameters with state", model.Parameters().size(), states.size()));
  for (const auto& [id, state] : states) {
    t.Rule(AllElementsAre(ToString(id) + ": sum", 0.25, state.AsDict().At("sum")));
  }
}

RULE(GR20) {
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const std::vector<std::string> weights = NamesEndingWith(model, "weight"), biases = NamesEndingWith(model, "bias");
  const Optimizer optimizer =
      t.subject().CreateOptimizer(model, "adam", {}, {{weights, {.amsgrad = true}}, {biases}});
  const Dict state = GetOptimizerState(model, {optimizer}, t.TextParam("form")).At("state").AsDict();
  t.Rule(SameNameSet("state", model.Parameters().Keys(), state.Keys()));
  for (const auto& [name, entries] : state) {
    t.Rule(Equal(ToString(name) + ": whether there is max_exp_avg_sq", ToString(name).ends_with("weight"),
                 entries.AsDict().Contains("max_exp_avg_sq")));
  }
}

RULE(GR21) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, "fully_shard");
  const std::vector<std::string> weights = NamesEndingWith(model, "weight"), biases = NamesEndingWith(model, "bias");
  const Optimizer saved = t.subject().CreateOptimizer(
      model, "adam", {}, {{biases, {.lr = 0.5, .weight_decay = 0.5}}, {weights, {.lr = 0.25, .weight_decay = 0.125}}});
  Dict state = GetOptimizerState(model, {saved}, form);
  ChangeSavedGroups(state, [](size_t index, Dict& group) {
    if (index == 1) group.Erase("weight_decay");
  });
  std::vector<std::string> names = t.BoolParam("weights_first") ? weights : biases;
  const std::vector<std::string>& others = t.BoolParam("weights_first") ? biases : weights;
  names.insert(names.end(), others.begin(), others.end());
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {}, {{names, {}}});
  SetOptimizerState(model, {loaded}, form, state, /*strict=*/false);
  HasOptions(t, "the only group", loaded, 0, {{"lr", 0.25}, {"weight_decay", 0.5}});
}

RULE(GR22) {
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  Optimizer saved = t.subject().CreateOptimizer(model, "adam", {.lr = 0.5});
  saved.Schedule(0.5);
  for (int epoch = 0; epoch < 2; ++epoch) saved.AdvanceSchedule();
  Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {.lr = 8});
  t.RuleRaises("KeyError", "initial_lr", [&] { loaded.Schedule(0.5, /*epoch=*/2); });
  loaded.LoadStateDict(saved.StateDict());
  loaded.Schedule(0.5, /*epoch=*/2);
  HasOptions(t, "a schedule resumed at epoch 2", loaded, 0, {{"lr", 0.125}, {"initial_lr", 0.5}});
  loaded.AdvanceSchedule();
  HasOptions(t, "the epoch after it", loaded, 0, {{"lr", 0.0625}, {"initial_lr", 0.5}});
  loaded.Schedule(0.25, /*epoch=*/1);
  HasOptions(t, "another schedule at epoch 1", loaded, 0, {{"lr", 0.125}, {"initial_lr", 0.5}});
}

RULE(GR23) {
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr_tensor = at::full({}, 0.5, at::kFloat)});
  optimizer.Schedule(0.5);
  const Value initial = optimizer.StateDict().At("param_groups").AsList().at(0).AsDict().At("initial_lr");
  t.subject().Fill(initial, 8);
  optimizer.AdvanceSchedule();
  const Value rate = optimizer.StateDict().At("param_groups").AsList().at(0).AsDict().At("lr");
  t.Rule(SameValue("the rate after an epoch", at::full({}, 0.25, at::kFloat), rate));
}

RULE(OP49) {
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const auto make = [&](double first, double second) {
    return t.subject().CreateOptimizer(model, "adam", {},
                                       {{{}, {.lr = first}}, {model.Parameters().Keys(), {.lr = 0.5}}, {{}, {.lr = second}}});
  };
  const Optimizer source = make(0.25, 0.125), loaded = make(4, 8);
  const Dict flat = t.subject().Clone(GetOptimizerState(model, {source}, "dsd_flat")).AsDict();
  SetOptimizerState(model, {loaded}, "dsd_flat", flat);
  HasOptions(t, "the first empty group", loaded, 0, {{"lr", 0.25}});
  HasOptions(t, "the second empty group", loaded, 2, {{"lr", 0.125}});
}

}  // namespace shardcts::extended
