// Groups: options of parameter groups, and several optimizers.
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/rule.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {
namespace {

// Three layers, so that a group of weights and one of biases have members in every unit.
const ModelSpec kStack = {.name = "linear_stack",
                          .args = {{"sizes", ToValue(std::vector<int64_t>{3, 5, 4, 2})}},
                          .units = {"0", "1"}};

std::vector<std::string> NamesEndingWith(const Model& model, std::string_view end) {
  std::vector<std::string> names = model.Parameters().Keys();
  std::erase_if(names, [&](const std::string& name) { return !name.ends_with(end); });
  return names;
}

// The option of each group of an optimizer by the name of the group's first parameter.
double OptionOf(const Optimizer& optimizer, size_t group, std::string_view option) {
  return optimizer.StateDict().At("param_groups").AsList().at(group).AsDict().At(std::string(option)).AsDouble();
}

void TrainOneStep(Trial& t, Model& model, std::vector<Optimizer> optimizers) {
  const Value output = model.Forward({Value(at::ones({2, 3}).to(c10::Device(t.device())))});
  model.Backward(output);
  for (Optimizer& optimizer : optimizers) optimizer.Step();
}

}  // namespace

RULE(GR1) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, kStack, t.TextParam("wrapper"));
  const ParameterGroup weights = {NamesEndingWith(model, "weight"), {.lr = 0.25, .weight_decay = 0.5}};
  const ParameterGroup biases = {NamesEndingWith(model, "bias"), {.lr = 0.125, .weight_decay = 0.0625}};
  const Optimizer saved = t.subject().CreateOptimizer(model, "adam", {}, {weights, biases});
  if (t.BoolParam("trained")) TrainOneStep(t, model, {saved});
  const Dict state = GetOptimizerState(model, {saved}, form);

  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam", {}, {{biases.parameters}, {weights.parameters}});
  SetOptimizerState(model, {loaded}, form, state);
  t.Rule(Equal("lr of the biases, now the first group", 0.125, OptionOf(loaded, 0, "lr")));
  t.Rule(Equal("weight_decay of the biases", 0.0625, OptionOf(loaded, 0, "weight_decay")));
  t.Rule(Equal("lr of the weights, now the second group", 0.25, OptionOf(loaded, 1, "lr")));
  t.Rule(Equal("weight_decay of the weights", 0.5, OptionOf(loaded, 1, "weight_decay")));
}

}  // namespace shardcts::extended
