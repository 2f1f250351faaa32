// State machine: state dicts at every point of a training step.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "suites/extended/comparison.h"
#include "suites/extended/exact.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

// What the parameters of a rule's case say.
struct Setting {
  std::string wrapper;
  std::string form;
  std::string unsharded;
};

Setting SettingOf(const Trial& t) {
  return {t.TextParam("wrapper"), t.TextParam("form"), t.TextParam("unsharded")};
}

std::string WholeForm(std::string_view wrapper) { return wrapper.starts_with("fsdp") ? "full" : "dsd_full"; }

// The model's only optimizer, Adam, with coded state.
Optimizer WithCodedState(Trial& t, Model& model, std::string_view whole_form, Steps steps) {
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, whole_form, CodedAdamStateDict(ExactValues(0), steps));
  return optimizer;
}

void HasCodedState(Trial& t, std::string_view what, Steps steps, std::string_view form, const Dict& actual) {
  const Dict expected = EntriesByName(Dict{{"state", CodedAdamState(ExactValues(0), steps)}});
  HasEntries(t, what, expected, EntriesByName(ForAllRanks(t, form, actual)));
}

Dict OwnState(Model& model, std::string_view wrapper) {
  return wrapper.starts_with("fsdp") ? GetState(model, "full") : model.StateDict();
}

// The number of the values that the model has after it was written, by a load or in summon_full_params.
constexpr int64_t kWritten = 1;

void Write(Trial& t, const Setting& setting, Model& model, const Dict& saved) {
  if (setting.form == "full" && t.BoolParam("in_summon")) {
    return WithFullParams(model, [&] { model.SetValues(ExactValues(kWritten)); });
  }
  SetState(model, setting.form, saved);
}

}  // namespace

RULE(SM1) {
  const Setting setting = SettingOf(t);
  Model source = BuildExact(t, 0, setting.wrapper);
  const Optimizer of_source = WithCodedState(t, source, "dsd_full", Steps::kDifferent);
  const Dict given = t.subject().Clone(GetOptimizerState(source, {of_source}, setting.form)).AsDict();

  Model model = BuildExact(t, 0, setting.wrapper, setting.unsharded);
  Optimizer optimizer = WithCodedState(t, model, "dsd_full", Steps::kEqual);
  ForwardExact(t, model, setting.wrapper);
  HasCodedState(t, "state after a forward", Steps::kEqual, setting.form,
                GetOptimizerState(model, {optimizer}, setting.form));
  ForwardExact(t, model, setting.wrapper);
  SetOptimizerState(model, {optimizer}, setting.form, given);
  HasCodedState(t, "state loaded after a forward", Steps::kDifferent, setting.form,
                GetOptimizerState(model, {optimizer}, setting.form));
  Train(t, source, {of_source}, 0, 1, PartOf(t, setting.wrapper));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, setting.wrapper));
  SameState(t, "after a step", source.StateDict(), model.StateDict());
}

RULE(SM2) {
  const Setting setting = SettingOf(t);
  const Dict saved = SavedExact(t, kWritten, setting.wrapper, setting.form);
  for (const bool forward_first : {true, false}) {
    Model model = BuildExact(t, 0, setting.wrapper, setting.unsharded);
    ForwardExact(t, model, setting.wrapper);
    Write(t, setting, model, saved);
    if (!forward_first) ValuesAreExact(t, "the next dict", kWritten, model, setting.wrapper);
    OutputIsExact(t, "the next forward", kWritten, ForwardExact(t, model, setting.wrapper), setting.wrapper);
    if (forward_first) ValuesAreExact(t, "the dict after the next forward", kWritten, model, setting.wrapper);
  }
}

RULE(SM3) {
  const Setting setting = SettingOf(t);
  Model plain = BuildExact(t, 0, setting.wrapper, setting.unsharded);
  Model saving = BuildExact(t, 0, setting.wrapper, setting.unsharded);
  const Value of_plain = ForwardExact(t, plain, setting.wrapper);
  const Value of_saving = ForwardExact(t, saving, setting.wrapper);
  const Dict saved = t.subject().Clone(GetState(saving, setting.form)).AsDict();
  BackwardExact(t, plain, setting.wrapper, of_plain);
  BackwardExact(t, saving, setting.wrapper, of_saving);
  SameState(t, "gradients", plain.Gradients(), saving.Gradients());
  t.Rule(SameValue("what was saved", SavedExact(t, 0, setting.wrapper, setting.form), saved));
  ValuesAreExact(t, "values after the backward", 0, saving, setting.wrapper);
}

RULE(SM4) {
  const Setting setting = SettingOf(t);
  const Dict saved = SavedExact(t, kWritten, setting.wrapper, setting.form);
  Model model = BuildExact(t, 0, setting.wrapper, setting.unsharded);
  const Value output = ForwardExact(t, model, setting.wrapper);
  SetState(model, setting.form, saved);
  BackwardExact(t, model, setting.wrapper, output);
  ValuesAreExact(t, "values after the backward", kWritten, model, setting.wrapper);
  OutputIsExact(t, "the next forward", kWritten, ForwardExact(t, model, setting.wrapper), setting.wrapper);
}

RULE(SM5) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const std::string order = t.TextParam("order");
  const Dict saved = SavedExact(t, kWritten, wrapper, form);
  Model model = BuildExact(t, 0, wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const auto load = [&] { SetState(model, form, saved); };
  const auto get = [&](int64_t number) {
    HasEntries(t, "a get before the first forward", ExactValues(number), ForAllRanks(t, form, GetState(model, form)));
  };
  const auto optimizer_state = [&] {
    SetOptimizerState(model, {optimizer}, WholeForm(wrapper), CodedAdamStateDict(ExactValues(0)));
    HasCodedState(t, "optimizer state before the first forward", Steps::kEqual, form,
                  GetOptimizerState(model, {optimizer}, form));
  };
  bool loaded = false;
  for (const char what : order) {
    if (what == 'g') get(loaded ? kWritten : 0);
    if (what == 'o') optimizer_state();
    if (what == 'l') load();
    loaded |= what == 'l';
  }
  OutputIsExact(t, "the first forward", kWritten, ForwardExact(t, model, wrapper), wrapper);
  ValuesAreExact(t, "the dict after it", kWritten, model, wrapper);
}

RULE(SM10) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string unsharded = t.TextParam("unsharded");
  const std::string kind = t.TextParam("optimizer");
  Model plain = BuildExact(t, 0, wrapper, unsharded);
  Model evaluated = BuildExact(t, 0, wrapper, unsharded);
  Optimizer of_plain = t.subject().CreateOptimizer(plain, kind, TrainingOptions(kind));
  Optimizer of_evaluated = t.subject().CreateOptimizer(evaluated, kind, TrainingOptions(kind));
  const BatchPart part = PartOf(t, wrapper);
  for (int64_t step = 0; step < 2; ++step) {
    Accumulate(t, plain, step, part);
    Accumulate(t, evaluated, step, part);
    ForwardExact(t, evaluated, wrapper, /*step=*/9);
    of_plain.Step();
    of_evaluated.Step();
    of_plain.ZeroGrad();
    of_evaluated.ZeroGrad();
    if (step == 0 && !t.BoolParam("forward_first")) {
      SameState(t, "values after the step", OwnState(plain, wrapper), OwnState(evaluated, wrapper));
    }
    const Value expected = ForwardExact(t, plain, wrapper, step + 1);
    t.Rule(SameValue("the next forward", expected, ForwardExact(t, evaluated, wrapper, step + 1)));
  }
  SameState(t, "values after two steps", OwnState(plain, wrapper), OwnState(evaluated, wrapper));
}

// The root's parameters are whole between forward and backward.
RULE(SM21) {
  const std::string changed = "1.weight";
  const bool thaws = t.TextParam("change") == "thaw";
  Model model = BuildTrained(t, {.name = "linear_stack", .args = TrainedStack().args}, "plain");
  model.FullyShard("");
  model.SetRequiresGrad({changed}, !thaws);
  const Value input(at::ones({2, 3}).to(c10::Device(t.device())));
  model.Forward({input});
  model.SetRequiresGrad({changed}, thaws);
  for (const char* step : {"the first step", "the second step"}) {
    model.Backward(model.Forward({input}));
    for (const auto& [name, gradient] : model.Gradients()) {
      const bool trains = thaws || ToString(name) != changed;
      t.Rule(Equal(fmt::format("{} in {}: whether there is a gradient", ToString(name), step), trains, !gradient.IsNone()));
    }
    model.ZeroGrad();
  }
}

RULE(SM24) {
  const std::string root = t.TextParam("root");
  Model model = BuildTrained(t, {.name = "linear_stack", .args = TrainedStack().args}, "plain");
  FullyShardOptions options;
  if (root != "default") options.reshard_after_forward = root == "reshards";
  model.FullyShard("", options);
  model.Forward({Value(at::ones({2, 3}).to(c10::Device(t.device())))});
  for (const auto& [name, parameter] : model.Parameters()) {
    t.Rule(Equal(ToString(name) + ": whether it is sharded after a forward", root == "reshards",
                 parameter.TryAs<DTensor>() != nullptr));
  }
}

RULE(SM25) {
  const std::string wrapper = t.TextParam("wrapper");
  const bool writeback = t.BoolParam("writeback");
  const auto trained = [&](bool with_scope) {
    Model model = BuildTrained(t, TrainedStack(), wrapper);
    const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
    for (int64_t step = 0; step < 2; ++step) {
      if (with_scope) WithFullParams(model, [] {}, {.writeback = writeback, .offload_to_cpu = true});
      Train(t, model, {optimizer}, step, step + 1, PartOf(t, wrapper));
    }
    return std::pair(TrainedParameters(model, wrapper), TrainedState(model, optimizer, wrapper));
  };
  const auto expected = trained(false), actual = trained(true);
  SameState(t, "parameters", expected.first, actual.first);
  t.Rule(SameValue("optimizer state", expected.second, actual.second));
}

RULE(SM32) {
  const bool reshards = t.BoolParam("reshard");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  model.FullyShard("", {.reshard_after_forward = reshards});
  model.Forward({Value(at::ones({2, 3}).to(c10::Device(t.device())))});
  for (const auto& [name, value] : model.Parameters()) {
    t.Rule(reshards ? IsDTensor(ToString(name), value) : IsPlainTensor(ToString(name), value));
  }
}

}  // namespace shardcts::extended
