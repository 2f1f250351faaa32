// Optimizer state over parameters that are frozen and thaw, or step unequally often.
#include <ATen/ATen.h>

#include <algorithm>
#include <random>
#include <set>

#include "suites/extended/coded_step.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/group_options.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

// A training in which parameters are frozen and thaw at random, with what Adam's state must be.
class RandomHistory {
 public:
  // FSDP1 and the text that is printed know modules; where each parameter is sharded alone, each is frozen alone.
  RandomHistory(Trial& t, Model& model, Optimizer optimizer, bool by_module, int64_t seed)
      : t_(t), model_(model), optimizer_(optimizer), random_(static_cast<uint64_t>(seed)) {
    text_ = fmt::format("seed {}:", seed);
    for (const std::string& name : model.Parameters().Keys()) {
      const std::string unit = by_module ? name.substr(0, name.find('.')) : name;
      if (units_.empty() || units_.back().name != unit) units_.push_back({unit, {}, false});
      units_.back().parameters.push_back(name);
    }
  }

  void Run(int64_t actions) {
    for (int64_t i = 0; i < actions; ++i) {
      if (random_() % 3 == 0) {
        Train();
      } else {
        Toggle(units_[random_() % units_.size()]);
      }
    }
  }

  const std::string& text() const { return text_; }
  // Without those that are frozen and were never stepped.
  Dict Expected() const {
    const Dict complete = expected_.CompletedFor(Twin(ThreeBranches()).Parameters());
    Dict state;
    for (const auto& [name, value] : complete) {
      if (expected_.state().Contains(name) || !IsFrozen(ToString(name))) state.Set(name, value);
    }
    return state;
  }

 private:
  struct Unit {
    std::string name;
    std::vector<std::string> parameters;
    bool is_frozen = false;
  };

  bool IsFrozen(const std::string& name) const {
    return std::ranges::any_of(units_, [&](const Unit& unit) {
      return unit.is_frozen && std::ranges::count(unit.parameters, name) > 0;
    });
  }

  void Toggle(Unit& unit) {
    const auto trainable = std::ranges::count(units_, false, &Unit::is_frozen);
    if (!unit.is_frozen && trainable == 1) return;  // something must be left to train
    unit.is_frozen = !unit.is_frozen;
    model_.SetRequiresGrad(unit.parameters, !unit.is_frozen);
    text_ += fmt::format(" {} {},", unit.is_frozen ? "freeze" : "thaw", unit.name);
  }

  void Train() {
    CodedStep(t_, model_, optimizer_, steps_);
    Dict gradients;
    for (const auto& [name, value] : CodedGradients(t_, steps_)) {
      if (!IsFrozen(ToString(name))) gradients.Set(name, value);
    }
    expected_.Step(gradients);
    ++steps_;
    text_ += " step,";
  }

  Trial& t_;
  Model& model_;
  Optimizer optimizer_;
  std::mt19937_64 random_;
  std::vector<Unit> units_;
  ExpectedAdamState expected_;
  int64_t steps_ = 0;
  std::string text_;
};

Dict StepsOf(const Dict& state) {
  Dict steps;
  for (const auto& [name, value] : state) steps.Set(name, value.AsDict().At("step").AsTensor().clone());
  return steps;
}

// The step of one parameter is overwritten: those of all others stay.
void FillOneStep(Trial& t, const Dict& state) {
  const Dict before = StepsOf(state);
  t.Rule(Holds(!state.Keys().empty(), "state", "expected some of each parameter, actual none"));
  if (state.Keys().empty()) return;
  const std::string first = state.Keys().front();
  t.subject().Fill(state.At(first).AsDict().At("step"), 50);
  for (const auto& [name, value] : StepsOf(state)) {
    if (ToString(name) == first) continue;
    t.Rule(SameValue(fmt::format("step of {} after that of {} was filled", ToString(name), first), before.At(name),
                     value));
  }
}

}  // namespace

RULE(OP4) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  RandomHistory history(t, model, optimizer, t.TextParam("wrapper") == "fsdp_orig", t.IntParam("seed"));
  history.Run(9);
  const Dict saved = GetOptimizerState(model, {optimizer}, form);
  HasStateByName(t, history.text() + " saved", form, history.Expected(), saved);
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {loaded}, form, saved);
  HasStateByName(t, history.text() + " saved, loaded and saved again", form, history.Expected(),
                 GetOptimizerState(model, {loaded}, form));
}

RULE(OP5) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  ExpectedAdamState expected;
  Model source = BuildWrapped(t, ThreeBranches(), wrapper);
  const Optimizer trained = t.subject().CreateOptimizer(source, "adam", CodedAdam());
  for (int64_t step : {0, 1}) {
    CodedStep(t, source, trained, step);
    expected.Step(CodedGradients(t, step));
  }
  const Dict saved = GetOptimizerState(source, {trained}, form);

  const bool before = t.TextParam("frozen") == "before_wrapping";
  Model model = BuildCoded(t, ThreeBranches());
  if (before) model.SetRequiresGrad(NamesBelow(model, "a"), false);
  Wrap(t, model, ThreeBranches(), wrapper);
  if (!before) model.SetRequiresGrad(NamesBelow(model, "a"), false);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  SetOptimizerState(model, {optimizer}, form, saved);
  model.SetRequiresGrad(NamesBelow(model, "a"), true);
  HasStateByName(t, "loaded while a was frozen", form, expected.state(), GetOptimizerState(model, {optimizer}, form));
  CodedStep(t, model, optimizer, 2);
  expected.Step(CodedGradients(t, 2));
  HasStateByName(t, "after a step of the thawed model", form, expected.state(),
                 GetOptimizerState(model, {optimizer}, form));
}

RULE(OP6) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  ExpectedAdamState expected;
  for (int64_t step : {0, 1}) {
    CodedStep(t, model, optimizer, step);
    expected.Step(CodedGradients(t, step));
  }
  model.SetRequiresGrad(NamesBelow(model, "a"), false);
  HasStateByName(t, "saved while a is frozen", form, expected.state(), GetOptimizerState(model, {optimizer}, form));
}

RULE(OP7) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const bool flat = wrapper == "fsdp";  // whose members step together
  Model model = BuildWrapped(t, ThreeBranches(), wrapper);
  const Dict full = Twin(ThreeBranches()).Parameters();
  const Steps steps = flat ? Steps::kEqual : Steps::kDifferent;
  const Dict expected = CodedAdamState(full, steps);
  const Optimizer given = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  SetOptimizerState(model, {given}, WholeFormOf(wrapper), CodedAdamStateDict(full, steps));
  const Dict saved = GetOptimizerState(model, {given}, form);
  HasStateByName(t, "saved", form, expected, saved);
  const Dict again = GetOptimizerState(model, {given}, form);  // a load may keep the tensors of `saved` (AL11)

  const Optimizer loaded = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  SetOptimizerState(model, {loaded}, form, saved);
  CodedStep(t, model, loaded, 0);
  const Dict stepped = WholeStateByName(t, form, GetOptimizerState(model, {loaded}, form), expected);
  for (const auto& [name, step] : StepsOf(expected)) {
    t.Rule(SameValue(fmt::format("step of {} after one more step", ToString(name)), step.AsTensor().add(1),
                     stepped.At(name).AsDict().At("step")));
  }
  FillOneStep(t, again.At("state").AsDict());
}

}  // namespace shardcts::extended
