// Several optimizers of one model: each gets its own state and options.
#include <fmt/ranges.h>

#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/group_options.h"
#include "suites/extended/rule.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {
namespace {

// FSDP1 demands state of all members of a flat parameter, so each has complete units.
struct TwoOptimizers {
  Optimizer first_layer, others;
};

std::vector<std::string> OtherLayers(const Model& model) {
  std::vector<std::string> names = NamesBelow(model, "1");
  for (const std::string& name : NamesBelow(model, "2")) names.push_back(name);
  return names;
}

// What the optimizer itself holds after the load is what the saved one holds.
void HoldsTheSame(Trial& t, const std::string& what, const Optimizer& saved, const Optimizer& loaded) {
  t.Rule(SameValue(what, saved.StateDict(), InOrderOf(saved.StateDict(), loaded.StateDict())));
}

}  // namespace

RULE(GR6) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, t.TextParam("wrapper"));
  const auto make = [&](double lr) {
    return TwoOptimizers{
        t.subject().CreateOptimizer(model, "sgd", {.lr = lr, .momentum = 0.5}, {{NamesBelow(model, "0")}}),
        t.subject().CreateOptimizer(model, "adam", {.lr = lr / 2}, {{OtherLayers(model)}})};
  };
  const TwoOptimizers saved = make(0.25);
  TrainOneStep(t, model, {saved.first_layer, saved.others});
  const Dict state = GetOptimizerState(model, {saved.first_layer, saved.others}, form);
  const TwoOptimizers loaded = make(0.0625);
  SetOptimizerState(model, {loaded.others, loaded.first_layer}, form, state);
  HoldsTheSame(t, "SGD, saved first and loaded second", saved.first_layer, loaded.first_layer);
  HoldsTheSame(t, "Adam, saved second and loaded first", saved.others, loaded.others);
}

RULE(GR7) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, "fully_shard");
  const std::string other = t.TextParam("other");
  const auto make = [&](double lr) {
    std::vector<ParameterGroup> first = {{NamesBelow(model, "0")}}, second = {{OtherLayers(model)}};
    const bool of_both = other == "empty_group_of_both";
    if (other == "empty_group" || of_both) first.push_back({{}, {.lr = lr * 2}});
    if (other == "empty_group_of_second" || of_both) second.push_back({{}, {.lr = lr * 4}});
    return TwoOptimizers{t.subject().CreateOptimizer(model, "sgd", {.lr = lr}, first),
                         t.subject().CreateOptimizer(model, of_both ? "adam" : "sgd", {.lr = lr / 2}, second)};
  };
  const TwoOptimizers saved = make(0.25);
  TrainOneStep(t, model, {saved.first_layer, saved.others});
  const Dict state = GetOptimizerState(model, {saved.first_layer, saved.others}, form);
  const TwoOptimizers loaded = make(0.0625);
  const bool turned = other == "empty_group_of_both";
  SetOptimizerState(model, turned ? std::vector{loaded.others, loaded.first_layer}
                                  : std::vector{loaded.first_layer, loaded.others}, form, state);
  HoldsTheSame(t, "the first", saved.first_layer, loaded.first_layer);
  HoldsTheSame(t, "the second", saved.others, loaded.others);
}

RULE(GR12) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kThreeLayers, "fully_shard");
  const Optimizer first = t.subject().CreateOptimizer(model, "sgd", {}, {{NamesBelow(model, "0")}});
  const Optimizer second = t.subject().CreateOptimizer(
      model, "adam", {}, {{NamesBelow(model, "2")}, {NamesBelow(model, "1")}});
  const auto saved = [&](const std::vector<Optimizer>& optimizers) {
    std::string text;
    const Dict state = GetOptimizerState(model, optimizers, form);
    for (const Value& group : state.At("param_groups").AsList()) {
      text += fmt::format("({})", fmt::join(group.AsDict().At("params").AsStrings(), " "));
    }
    return text;
  };
  t.Rule(Equal("groups", std::string("(0.weight 0.bias)(2.weight 2.bias)(1.weight 1.bias)"), saved({first, second})));
  t.Rule(Equal("groups of the optimizers the other way round",
               std::string("(2.weight 2.bias)(1.weight 1.bias)(0.weight 0.bias)"), saved({second, first})));
}

}  // namespace shardcts::extended
