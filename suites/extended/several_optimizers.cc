// Several optimizers of one model: each gets its own state and options.
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
  const bool empty_group = t.TextParam("other") == "empty_group";
  const auto make = [&](double lr) {
    std::vector<ParameterGroup> groups = {{NamesBelow(model, "0")}};
    if (empty_group) groups.push_back({{}, {.lr = lr * 2}});
    return TwoOptimizers{
        t.subject().CreateOptimizer(model, "sgd", {.lr = lr}, groups),
        t.subject().CreateOptimizer(model, "sgd", {.lr = lr / 2}, {{OtherLayers(model)}})};
  };
  const TwoOptimizers saved = make(0.25);
  TrainOneStep(t, model, {saved.first_layer, saved.others});
  const Dict state = GetOptimizerState(model, {saved.first_layer, saved.others}, form);
  const TwoOptimizers loaded = make(0.0625);
  SetOptimizerState(model, {loaded.first_layer, loaded.others}, form, state);
  HoldsTheSame(t, "the first", saved.first_layer, loaded.first_layer);
  HoldsTheSame(t, "the second", saved.others, loaded.others);
}

}  // namespace shardcts::extended
