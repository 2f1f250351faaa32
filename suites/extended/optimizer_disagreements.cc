// State of an FSDP1 optimizer whose ranks, members, keys or dtypes do not agree.
#include <ATen/ATen.h>

#include <functional>

#include "contract/fsdp_optim.h"
#include "contract/tensor_bytes.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"

namespace shardcts::extended {
namespace {

// The state dict with each state after the change.
Dict WithStates(const Dict& saved, const std::function<void(const Key& parameter, Dict& state)>& change) {
  Dict states = saved.At("state").AsDict();
  for (const auto& [key, unused] : saved.At("state").AsDict()) change(key, states.Find(key)->AsDict());
  Dict changed = saved;
  changed.Set("state", std::move(states));
  return changed;
}

}  // namespace

RULE(OP25) {
  const std::string form = t.TextParam("form"), wrapper = "fsdp_orig";
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  const bool is_last = t.rank() == t.world_size() - 1;
  optimizer.LoadStateDict(WithStates(t.subject().Clone(optimizer.StateDict()).AsDict(), [&](const Key&, Dict& state) {
    if (is_last) state.Set("step", at::scalar_tensor(5, at::kFloat));
  }));
  Refused(t, "state with step 1 on some ranks and 5 on another", {"AssertionError", "RuntimeError", "ValueError"},
          [&] { GetOptimizerState(model, {optimizer}, form); });
}

RULE(OP26) {
  const std::string lacks = t.TextParam("lacks"), wrapper = "fsdp";
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  const Dict good = CodedAdamStateDict(OtherValues());
  SetOptimizerState(model, {optimizer}, "full", good);
  const Dict before = StateOf(t, model, optimizer, wrapper);
  const Dict given = WithStates(good, [&](const Key& parameter, Dict& state) {
    if (parameter == Key("0.bias")) state.Erase(lacks);
  });
  if (!Refused(t, "members of one flat parameter, one without " + lacks, {"ValueError", "RuntimeError", "KeyError"},
               [&] { SetOptimizerState(model, {optimizer}, "full", given); })) {
    return;
  }
  SameState(t, "after the refused load", before, StateOf(t, model, optimizer, wrapper));
}

RULE(OP27) {
  const std::string wrapper = t.TextParam("wrapper"), dtype = t.TextParam("dtype");
  const at::ScalarType expected = *ParseDtype(dtype);
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  const Dict given = WithStates(CodedAdamStateDict(OtherValues()), [&](const Key&, Dict& state) {
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) *state.Find(moment) = state.At(moment).AsTensor().to(expected);
  });
  const Dict converted = ConvertedOptimizerState(model, optimizer, "full", given);
  t.Rule(Holds(!converted.At("state").AsDict().empty(), "state", "expected some on each rank"));
  for (const auto& [key, state] : converted.At("state").AsDict()) {
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      t.Rule(Equal(fmt::format("dtype of {} of {}", moment, ToString(key)), DtypeName(expected),
                   DtypeName(state.AsDict().At(moment).AsTensor().scalar_type())));
    }
  }
}

RULE(OP28) {
  const std::string wanted = t.TextParam("wanted");
  const ModelSpec spec = TrainedStack();
  Model model = BuildTrained(t, spec, "plain");
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const Dict by_name = CodedAdamStateDict(OtherValues());
  Dict mixed = by_name, states;
  for (const auto& [name, state] : by_name.At("state").AsDict()) {
    states.Set(states.empty() ? Key(int64_t{0}) : name, state);
  }
  mixed.Set("state", states);
  const OptimStateKeyType type = wanted == "ids" ? OptimStateKeyType::kParamId : OptimStateKeyType::kParamName;
  Refused(t, "state of which one key is an id and the others are names", {"ValueError"},
          [&] { RekeyOptimStateDict(mixed, type, model, {.optimizer = &optimizer}); });
}

}  // namespace shardcts::extended
