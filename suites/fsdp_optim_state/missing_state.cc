// Optimizer state with missing parts: the first parameter's, all of it, the groups, or a value (None).
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

std::vector<std::string> ParamsOf(const Dict& group) { return group.At("params").AsStrings(); }

Model UnderOneUnit(Trial& t, const char* model_name, const FsdpOptions& options = {}) {
  Model model = t.subject().Build(model_name, {}, t.device());
  WrapFsdp(model, "", options);
  return model;
}

}  // namespace

PORT(test_save_load_without_0th_param_state) {
  const bool full = t.TextParam("state_dict_type") == "FULL";
  Model plain = t.subject().Build("unused_linear", {}, t.device());
  Model model = plain.Copy();
  for (const char* path : {"lin1", "lin2", ""}) WrapFsdp(model, path);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  Optimizer plain_optimizer = t.subject().CreateOptimizer(plain, "adam", {.lr = 1e-2});
  const auto twin_state = [&] { return StateByName(t, plain_optimizer, AllParameters(plain)); };
  StepOnSum(model, optimizer, NormalInput(t, {2, 5}, 0));
  StepOnSum(plain, plain_optimizer, NormalInput(t, {2, 5}, 0));

  const auto save = [&] {
    return full ? FullOptimStateDict(model, optimizer, {.rank0_only = false}) : ShardedOptimStateDict(model, optimizer);
  };
  Dict saved, converted;
  t.NoError("C1", [&] {
    saved = save();
    converted = full ? ShardFullOptimStateDict(saved, model) : FlattenShardedOptimStateDict(saved, model, optimizer);
  });
  ExpectStateOfTwin(t, "C1", twin_state(), saved);
  t.Strict("C1", SameNames("names of the group", {"lin1.weight", "lin1.bias", "lin2.weight", "lin2.bias"},
                           ParamsOf(FirstGroupOf(saved))));
  t.NoError("C2", [&] { optimizer.LoadStateDict(converted); });
  t.Strict("C2", SameNames("ids with state", {"1"}, StateOf(optimizer.StateDict()).Keys()));
  ExpectEqualDictsStrictly(t, "C2", converted, optimizer.StateDict());

  t.NoError("C3", [&] { StepOnSum(model, optimizer, NormalInput(t, {2, 5}, 1)); });
  StepOnSum(plain, plain_optimizer, NormalInput(t, {2, 5}, 1));
  ExpectStateOfTwin(t, "C3", twin_state(), save());
}

PORT(test_optim_state_without_param_groups) {
  Model model = UnderOneUnit(t, "one_net");
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  const at::Tensor batch = UniformInput(t, {3, 2});
  const auto step_without_gradient = [&] {
    optimizer.InitState();
    model.Backward(model.Forward({batch}));
  };
  step_without_gradient();
  const Dict original = Cloned(t, optimizer.StateDict());
  Dict saved, converted;
  t.NoError("C2", [&] {
    saved = Cloned(t, OptimStateDict(model, optimizer, {.state_dict = Dict{{"state", original.At("state")}}}));
  });
  t.Check("C1", Holds(!saved.Contains("param_groups"), "saved state dict", "expected no param_groups, there are some"));
  step_without_gradient();
  t.NoError("C2", [&] { converted = OptimStateDictToLoad(model, optimizer, saved); });
  t.Strict("C2", SameNames("members of the state dict to load", {"state"}, converted.Keys()));
  converted.Set("param_groups", original.At("param_groups"));
  t.NoError("C2", [&] { optimizer.LoadStateDict(converted); });
  const Dict loaded = optimizer.StateDict();
  ExpectEqualDicts(t, "C3", original, loaded);
  const Dict now = OptimStateDict(model, optimizer);
  ExpectSameState(
      t, {.other = "C4", .own = "C5", .keys = "C6", .names = "C7", .values = "C8", .dtypes = "C9"},
      saved, now);
  t.Check("C10", SameValue("param_groups", original.At("param_groups"), loaded.At("param_groups")));
  Dict twin_state;
  for (const auto& [name, shape] : {std::pair{"net1.0.weight", std::vector<int64_t>{4, 2}}, {"net1.0.bias", {4}}}) {
    const at::Tensor zeros = at::zeros(shape);
    twin_state.Set(name, Dict{{"step", at::ones({})}, {"exp_avg", zeros}, {"exp_avg_sq", zeros}});
  }
  ExpectStateOfTwin(t, "C8", twin_state, saved);
}

PORT(test_with_empty_optimizer_state) {
  Model plain = t.subject().Build("four_nets", {}, t.device());
  const Model model = UnderOneUnit(t, "four_nets");
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  const Dict local = optimizer.StateDict();
  const Dict saved = OptimStateDict(model, optimizer);
  t.Check("C1", SameValue("state", local.At("state"), saved.At("state")));
  t.Strict("C1", SameNames("parameters with state", {}, StateOf(saved).Keys()));
  t.Strict("C1", SameNames("names of the group", plain.Parameters().Keys(),
                           ParamsOf(FirstGroupOf(saved))));
}

PORT(test_state_dict_with_none_tensor_state) {
  const bool has_tensors = t.BoolParam("optimizer_has_tensor_state");
  FsdpOptions options;
  options.use_orig_params = t.BoolParam("use_orig_params");
  Model model = UnderOneUnit(t, "four_nets", options);
  Optimizer optimizer = t.subject().CreateOptimizer(model, has_tensors ? "adam" : "sgd", {.lr = 1e-2});
  StepOnOutput(model, optimizer, UniformInput(t, {8, 8}));

  Dict original = Cloned(t, optimizer.StateDict());
  Dict state = StateOf(original);
  for (auto& [id, entry] : state) {
    entry.AsDict().Set("value1", 2.74);
    entry.AsDict().Set("value2", Value());
  }
  original.Set("state", state);
  Dict converted;
  t.NoError("C3", [&] {
    const Dict saved = OptimStateDict(model, optimizer, {.state_dict = original});
    converted = OptimStateDictToLoad(model, optimizer, saved);
  });
  const std::vector<std::string> expected = has_tensors ? state.Keys() : std::vector<std::string>{};
  t.Strict("C3", SameNameSet("ids with state", expected, StateOf(converted).Keys()));
  if (!has_tensors) return;
  for (const auto& [id, entry] : StateOf(converted)) {
    const std::string what = "state of " + ToString(id);
    const Value* first = entry.AsDict().Find("value1");
    const Value* second = entry.AsDict().Find("value2");
    t.Check("C1", SameValue(what + ".value1", 2.74, first ? *first : Value("missing")));
    t.Check("C2", SameValue(what + ".value2", Value(), second ? *second : Value("missing")));
  }
}

}  // namespace shardcts::fsdp_optim_state
