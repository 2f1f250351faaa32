// The kinds of optimizers that step shards: what they keep, and what they do with it after a load.
#include <ATen/ATen.h>

#include "rank/whole.h"
#include <map>
#include "suites/extended/trees.h"
#include "suites/extended/coded_step.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/wrapping.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/twin.h"
#include "suites/extended/update_formulas.h"

namespace shardcts::extended {
namespace {

constexpr int64_t kKindSavedAt = 4;
constexpr int64_t kKindEnd = kKindSavedAt + 2;

// A model with its only optimizer.
struct KindRun {
  Model model;
  Optimizer optimizer;

  void Train(Trial& t, int64_t first, int64_t last) {
    for (int64_t step = first; step < last; ++step) CodedStep(t, model, optimizer, step);
  }
};

// float32 against float64: all gradients are positive, so that nothing cancels out but in the values themselves.
void IsNear(Trial& t, const std::string& what, const Dict& expected, const Dict& actual, double atol) {
  t.Rule(SameNames(what + ": names", expected.Keys(), actual.Keys()));
  for (const auto& [name, value] : expected) {
    if (!actual.Contains(name)) continue;
    t.Rule(SameValue(fmt::format("{}: {}", what, ToString(name)), value, actual.At(name),
                     {.tolerance = {.rtol = 1e-5, .atol = atol}}));
  }
}

void IsLike(Trial& t, const std::string& what, const std::string& form, const FormulaRun& formula, KindRun& run) {
  const Dict state = formula.State();
  IsNear(t, what + ", state", state,
         WholeStateByName(t, form, GetOptimizerState(run.model, {run.optimizer}, form), state), 0);
  const Dict values = formula.Parameters();
  IsNear(t, what + ", parameters", values, WholeDict(t, GetState(run.model, form)), 1e-6);
}

// Trains with an optimizer of the parameter `optimizer`, saves, loads and goes on, all by its formula.
void StepsByFormula(Trial& t) {
  const OptimizerKind& kind = OptimizerKindNamed(t.TextParam("optimizer"));
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model model = BuildTrained(t, ThreeBranches(), wrapper);
  KindRun run{model, t.subject().CreateOptimizer(model, kind.kind, kind.options)};
  FormulaRun formula(kind, SmallValuesLike(Twin(ThreeBranches()).Parameters()));
  run.Train(t, 0, kKindSavedAt);
  for (int64_t step = 0; step < kKindSavedAt; ++step) formula.Step(CodedGradients(t, step));
  IsLike(t, "after 4 steps", form, formula, run);

  const Value state = t.subject().Clone(GetState(run.model, form));
  const Value saved = t.subject().Clone(GetOptimizerState(run.model, {run.optimizer}, form));
  Model rebuilt = BuildWrapped(t, ThreeBranches(), wrapper);
  KindRun loaded{rebuilt, t.subject().CreateOptimizer(rebuilt, kind.kind, kind.options)};
  SetState(loaded.model, form, state.AsDict());
  SetOptimizerState(loaded.model, {loaded.optimizer}, form, saved.AsDict());
  t.Rule(SameValue("saved, loaded and saved again", saved,
                   InOrderOf(saved, GetOptimizerState(loaded.model, {loaded.optimizer}, form))));
  run.Train(t, kKindSavedAt, kKindEnd);
  loaded.Train(t, kKindSavedAt, kKindEnd);
  for (int64_t step = kKindSavedAt; step < kKindEnd; ++step) formula.Step(CodedGradients(t, step));
  IsLike(t, "2 steps after the load", form, formula, loaded);
  t.Rule(SameValue("parameters of the run that was not interrupted", GetState(run.model, form),
                   GetState(loaded.model, form)));
}

// The arguments of torch.optim's classes that are absent in a call, by kind; as their documentation gives them.
const std::map<std::string, Dict>& DefaultOptions() {
  static const Value none;
  static const Value betas = List{0.9, 0.999};
  static const Dict switches{{"maximize", false}, {"foreach", none}, {"differentiable", false}};
  static const auto with = [](Dict more, const Dict& further = {}) {
    for (const Dict* part : {&switches, &further}) {
      for (const auto& [name, value] : *part) more.Set(name, value);
    }
    return more;
  };
  static const Dict fused{{"fused", none}}, capturable{{"capturable", false}};
  static const Dict both{{"fused", none}, {"capturable", false}};
  static const std::map<std::string, Dict> defaults{
      {"sgd", with({{"lr", 1e-3}, {"momentum", 0}, {"dampening", 0}, {"weight_decay", 0}, {"nesterov", false}}, fused)},
      {"adam", with({{"lr", 1e-3}, {"betas", betas}, {"eps", 1e-8}, {"weight_decay", 0}, {"amsgrad", false},
                     {"decoupled_weight_decay", false}}, both)},
      {"adamw", with({{"lr", 1e-3}, {"betas", betas}, {"eps", 1e-8}, {"weight_decay", 1e-2}, {"amsgrad", false},
                      {"decoupled_weight_decay", true}}, both)},
      {"adagrad", with({{"lr", 1e-2}, {"lr_decay", 0}, {"eps", 1e-10}, {"weight_decay", 0},
                        {"initial_accumulator_value", 0}}, fused)},
      {"rmsprop", with({{"lr", 1e-2}, {"momentum", 0}, {"alpha", 0.99}, {"eps", 1e-8}, {"centered", false},
                        {"weight_decay", 0}}, capturable)},
      {"nadam", with({{"lr", 2e-3}, {"betas", betas}, {"eps", 1e-8}, {"weight_decay", 0}, {"momentum_decay", 4e-3},
                      {"decoupled_weight_decay", false}}, capturable)},
      {"radam", with({{"lr", 1e-3}, {"betas", betas}, {"eps", 1e-8}, {"weight_decay", 0},
                      {"decoupled_weight_decay", false}}, capturable)},
      {"asgd", with({{"lr", 1e-2}, {"lambd", 1e-4}, {"alpha", 0.75}, {"t0", 1e6}, {"weight_decay", 0}}, capturable)},
      {"adamax", with({{"lr", 2e-3}, {"betas", betas}, {"eps", 1e-8}, {"weight_decay", 0}}, capturable)},
      {"adadelta", with({{"lr", 1.0}, {"rho", 0.9}, {"eps", 1e-6}, {"weight_decay", 0}}, capturable)}};
  return defaults;
}

}  // namespace

RULE(OP16) { StepsByFormula(t); }

RULE(OP37) { StepsByFormula(t); }

RULE(OP19) {
  const std::string kind = t.TextParam("optimizer");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, kind);
  Dict group = optimizer.StateDict().At("param_groups").AsList().at(0).AsDict();
  group.Erase("params");
  const Dict& expected = DefaultOptions().at(kind);
  t.Rule(SameValue("options of the group", expected, InOrderOf(expected, group)));
}

RULE(OP46) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  const auto create = [&](const OptimizerOptions& options) {
    t.subject().CreateOptimizer(model, t.TextParam("optimizer"), options);
  };
  const std::map<std::string, std::vector<OptimizerOptions>> wrong = {
      {"sgd", {{.momentum = -0.5}, {.weight_decay = -0.5}}},
      {"adam", {{.beta1 = -0.5}, {.beta1 = 1}, {.beta2 = -0.5}, {.beta2 = 1}, {.eps = -0.5}, {.weight_decay = -0.5}}},
      {"adagrad", {{.eps = -0.5}, {.lr_decay = -0.5}, {.initial_accumulator_value = -0.5}}},
      {"rmsprop", {{.momentum = -0.5}, {.alpha = -0.5}}},
      {"nadam", {{.beta2 = 1}, {.momentum_decay = -0.5}}},
      {"adadelta", {{.rho = -0.5}, {.rho = 1.5}}}};
  for (const OptimizerOptions& options : wrong.at(t.TextParam("optimizer"))) {
    t.RuleRaises("ValueError", "", [&] { create(options); });
  }
  create({.weight_decay = 0});
}

// 16-bit moments of which a factor that is rounded to their dtype first loses digits in a few steps.
RULE(OP50) {
  const at::ScalarType dtype = t.TextParam("dtype") == "bfloat16" ? at::kBFloat16 : at::kHalf;
  const ModelSpec spec = TreeSpec(BareNode({{"w", TensorNode({64}, t.TextParam("dtype"))}}));
  Model model = BuildCoded(t, spec);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.0, .momentum = 0.9});
  const at::Tensor buffer = at::arange(1, 65, at::kFloat).div(7).to(dtype);
  Dict state = optimizer.StateDict();
  state.Set("state", Dict{{int64_t{0}, Dict{{"momentum_buffer", buffer.clone().to(c10::Device(t.device()))}}}});
  optimizer.LoadStateDict(state);
  optimizer.InitState();
  const at::Tensor expected = buffer.to(at::kDouble).mul(0.9).to(dtype);
  const Value actual = optimizer.StateDict().At("state").AsDict().At(int64_t{0}).AsDict().At("momentum_buffer");
  t.Rule(SameValue("momentum_buffer", expected, actual, {.tolerance = {.rtol = 0x1p-12, .atol = 0}}));
}

RULE(OP51) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  const Dict right = t.subject().Clone(optimizer.StateDict()).AsDict();
  Dict group = right.At("param_groups").AsList().at(0).AsDict(), wrong = right;
  group.Set("betas", List{0.5});
  wrong.Set("param_groups", List{group});
  try {
    optimizer.LoadStateDict(wrong);
  } catch (const OperationFailed&) {  // may be refused at once
  }
  optimizer.LoadStateDict(right);
  t.Rule(SameValue("the state dict after the right load", right, optimizer.StateDict()));
}

RULE(OP52) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  Dict given = t.subject().Clone(optimizer.StateDict()).AsDict();
  for (auto& [id, state] : given.Find("state")->AsDict()) state.AsDict().Set("step", 3.0);
  optimizer.LoadStateDict(given);
  Train(t, model, {optimizer}, 1, 2, PartOf(t, wrapper));
  for (const auto& [id, state] : optimizer.StateDict().At("state").AsDict()) {
    const Value& step = state.AsDict().At("step");
    const double steps = step.TryAs<Tensor>() ? step.AsTensor().item<double>() : step.AsDouble();
    t.Rule(Equal("step of parameter " + ToString(id), 4.0, steps));
  }
}

}  // namespace shardcts::extended
