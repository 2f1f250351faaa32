// The kinds of optimizers that step shards: what they keep, and what they do with it after a load.
#include <ATen/ATen.h>

#include "rank/whole.h"
#include "suites/extended/coded_step.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
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

}  // namespace

RULE(OP16) {
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

}  // namespace shardcts::extended
