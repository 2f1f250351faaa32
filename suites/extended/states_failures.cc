// State machine: what fails, scopes, and calls from inside others.
#include <ATen/ATen.h>

#include <algorithm>
#include <exception>

#include "contract/fsdp.h"
#include "suites/extended/comparison.h"
#include "suites/extended/exact.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

// An entry of the same name and kind as the model's, but of another shape.
Value EntryOfOtherShape(Trial& t, const std::string& name, const std::string& wrapper, const std::string& form) {
  ModelSpec spec = TrainedStack();
  spec.args.Set("sizes", ToValue(std::vector<int64_t>{3, 8, 6, 4}));
  Model other = BuildWrapped(t, spec, wrapper);
  const Dict state = GetState(other, form);
  return state.Contains(name) ? t.subject().Clone(state.At(name)) : Value();
}

// The call of this name, which must fail on every rank with an error.
void FailOnce(Trial& t, const std::string& failure, Model& model, const Optimizer& optimizer,
              const std::string& wrapper, const std::string& form) {
  if (failure == "get") {
    t.RuleRaises("ValueError", "", [&] { GetModelStateDict(model, {.broadcast_from_rank0 = true}); });
    return;
  }
  if (failure == "optimizer") {
    Dict state = CodedAdamStateDict(ExactValues(0));
    state.Find("state")->AsDict().Erase("1.weight");
    t.RuleRaises("RuntimeError", "", [&] { SetOptimizerState(model, {optimizer}, form, state); });
    return;
  }
  Dict given = SavedExact(t, 2, wrapper, form);
  const bool has_entries = !given.empty();  // of a form for rank 0 the others give none
  if (failure == "unexpected" && has_entries) given.Set("1.scale", t.subject().Clone(given.At("1.bias")));
  const std::string reshaped = failure == "shape" ? "2.weight" : "1.weight";
  const Value other = failure == "unexpected" ? Value() : EntryOfOtherShape(t, reshaped, wrapper, form);
  if (!other.IsNone()) given.Set(reshaped, other);
  t.RuleRaises("RuntimeError", "", [&] { SetState(model, form, given); });
}

std::string FormOfOptimizer(const std::string& wrapper) { return wrapper.starts_with("fsdp") ? "full" : "dsd_full"; }

// Type and offload_to_cpu of each unit.
void UnitsHave(Trial& t, std::string_view when, const Model& model, std::string_view type, bool offload) {
  const List units = FsdpUnits(model);
  t.Rule(Equal<size_t>("units", 3, units.size()));
  for (const Value& unit : units) {
    const Dict& own = unit.AsDict();
    const std::string what = fmt::format("{}: unit \"{}\"", when, own.At("path").AsString());
    t.Rule(Equal(what + ": type", std::string(type), own.At("type").AsString()));
    t.Rule(Equal(what + ": offload_to_cpu", offload, own.At("config").AsDict().At("offload_to_cpu").AsBool()));
  }
}

struct BodyRaised : std::exception {};

// Runs `scope` around a body that raises.
void LeaveByException(const std::function<void(const std::function<void()>& body)>& scope,
                      const std::function<void()>& before = {}) {
  try {
    scope([&] {
      if (before) before();
      throw BodyRaised();
    });
  } catch (const BodyRaised&) {
  }
}

// Three scopes, of which the innermost raises.
void NestTypes(Trial& t, Model& model) {
  const StateDictConfig offload{.offload_to_cpu = true};
  UnitsHave(t, "before all scopes", model, "FULL", false);
  WithStateDictType(model, StateDictKind::kSharded, offload, [&] {
    UnitsHave(t, "in the first scope", model, "SHARDED", true);
    WithStateDictType(model, StateDictKind::kLocal, [&] {
      UnitsHave(t, "in the second scope", model, "LOCAL", false);
      LeaveByException([&](const auto& body) { WithStateDictType(model, StateDictKind::kFull, offload, body); },
                       [&] { UnitsHave(t, "in the third scope", model, "FULL", true); });
      UnitsHave(t, "after the third scope", model, "LOCAL", false);
    });
    UnitsHave(t, "after the second scope", model, "SHARDED", true);
  });
  UnitsHave(t, "after the first scope", model, "FULL", false);
}

}  // namespace

RULE(SM6) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const std::string failure = t.TextParam("failure");
  Model plain = BuildExact(t, 0, wrapper);
  Model failed = BuildExact(t, 0, wrapper);
  Optimizer of_plain = t.subject().CreateOptimizer(plain, "adam", TrainingOptions("adam"));
  Optimizer of_failed = t.subject().CreateOptimizer(failed, "adam", TrainingOptions("adam"));
  FailOnce(t, failure, failed, of_failed, wrapper, form);

  const Dict saved = SavedExact(t, 1, wrapper, form);
  SetState(plain, form, saved);
  SetState(failed, form, saved);
  HasEntries(t, "the next get", ExactValues(1), ForAllRanks(t, form, GetState(failed, form)));
  for (auto& [model, optimizer] : {std::pair{&plain, &of_plain}, std::pair{&failed, &of_failed}}) {
    SetOptimizerState(*model, {*optimizer}, FormOfOptimizer(wrapper), CodedAdamStateDict(ExactValues(1)));
  }
  OutputIsExact(t, "the next forward", 1, ForwardExact(t, failed, wrapper), wrapper);
  Train(t, plain, {of_plain}, 0, 1, PartOf(t, wrapper));
  Train(t, failed, {of_failed}, 0, 1, PartOf(t, wrapper));
  SameState(t, "after the next step", TrainedParameters(plain, wrapper), TrainedParameters(failed, wrapper));
}

RULE(SM7) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildExact(t, 0, wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetStateDictType(model, StateDictKind::kSharded, {.offload_to_cpu = true});
  const Dict before = GetStateDictType(model);
  FailOnce(t, t.TextParam("failure"), model, optimizer, wrapper, t.TextParam("form"));
  t.Rule(SameValue("the model's type and configs", before, GetStateDictType(model)));
  UnitsHave(t, "after the call that failed", model, "SHARDED", true);
}

RULE(SM8) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildExact(t, 0, wrapper);
  if (t.TextParam("scope") == "type") return NestTypes(t, model);
  LeaveByException([&](const auto& body) { WithFullParams(model, body); }, [&] { model.SetValues(ExactValues(1)); });
  ValuesAreExact(t, "values written before the scope was left by an exception", 1, model, wrapper);
  OutputIsExact(t, "the next forward", 1, ForwardExact(t, model, wrapper), wrapper);
}

RULE(SM9) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model model = BuildExact(t, 0, wrapper);
  const bool with_grads = wrapper == "fsdp_orig";
  BackwardExact(t, model, wrapper, ForwardExact(t, model, wrapper));
  const Dict outside = t.subject().Clone(GetState(model, form)).AsDict();
  const auto full_gradients = [&](const std::function<void(const Dict&)>& use) {
    WithFullParams(model, [&] { use(model.Gradients()); }, {.with_grads = with_grads});
  };
  std::string error;  // LOCAL may be refused
  WithFullParams(model, [&] {
    try {
      t.Rule(SameValue("in summon_full_params", outside, t.subject().Clone(GetState(model, form))));
    } catch (const OperationFailed& failed) {
      error = failed.error().kind;
    }
  }, {.with_grads = with_grads});
  for (const Value& of_rank : t.AllGather(Value(error))) {
    t.Rule(Equal("whether a rank has an error", error.empty(), of_rank.AsString().empty()));
  }
  t.Rule(Holds(error.empty() || form == "local", "in summon_full_params", "a get failed: " + error));
  if (!error.empty()) return;
  t.Rule(SameValue("after summon_full_params", outside, GetState(model, form)));
  ValuesAreExact(t, "values after summon_full_params", 0, model, wrapper);
  if (!with_grads) return;
  full_gradients([&](const Dict& gradients) { t.subject().Fill(gradients, 3); });
  full_gradients([&](const Dict& gradients) {
    for (const auto& [name, gradient] : gradients) t.Rule(AllElementsAre("gradient of " + ToString(name), 3, gradient));
  });
}

RULE(SM11) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string path = t.TextParam("path");
  const bool is_native = t.TextParam("form") == "native";
  const std::string get = is_native ? "model.state_dict" : "dsd.get_model_state_dict";
  Model model = BuildExact(t, 0, wrapper);
  const Value input(BatchInput(0, 3, PartOf(t, wrapper)).to(c10::Device(t.device())));
  for (int time = 0; time < 2; ++time) {
    std::string error;
    try {
      const Value both = Require(model.caller(), "model.forward_and_state_dict",
                                 {{"model", model.handle()}, {"inputs", List{input}}, {"path", path}, {"get", get}});
      HasEntries(t, "the dict that the hook took", ExactValues(0), both.AsDict().At("state_dict").AsDict());
      OutputIsExact(t, "the forward with the hook", 0, both.AsDict().At("output"), wrapper);
    } catch (const OperationFailed& failed) {
      error = failed.error().kind;
    }
    for (const Value& of_rank : t.AllGather(Value(error))) {
      t.Rule(Equal("whether a rank has an error", error.empty(), of_rank.AsString().empty()));
    }
    const Value output = ForwardExact(t, model, wrapper);
    OutputIsExact(t, "the forward after it", 0, output, wrapper);
    BackwardExact(t, model, wrapper, output);
    ValuesAreExact(t, "the dict after it", 0, model, wrapper);
  }
}

RULE(SM12) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildExact(t, 0, wrapper);
  const auto write = [&] { model.SetValues(ExactValues(1)); };
  WithFullParams(model, write, {.writeback = false});
  ValuesAreExact(t, "after a scope without writeback", 0, model, wrapper);
  WithFullParams(model, [&] {
    if (t.rank() > 0) return;
    const Dict parameters = model.Parameters();
    for (const auto& [name, value] : ExactValues(0)) {
      t.Rule(SameValue(ToString(name) + " on the first rank", value, parameters.At(name).AsTensor().detach().cpu()));
    }
  }, {.writeback = false, .rank0_only = true});
  ValuesAreExact(t, "after a scope of the first rank alone", 0, model, wrapper);
  t.RuleRaises("NotImplementedError", "", [&] { WithFullParams(model, write, {.rank0_only = true}); });
  ValuesAreExact(t, "after the refused scope", 0, model, wrapper);
  WithFullParams(model, write);
  ValuesAreExact(t, "after a scope with writeback", 1, model, wrapper);
}

RULE(SM13) {
  const Dict arguments{{"in", 1}, {"out", t.IntParam("out")}, {"bias", false}};
  const auto build = [&] {
    Model model = t.subject().Build("linear", arguments, t.device());
    model.Fill(2);
    return model;
  };
  Model model = build(), unsharded = build();
  Wrap(t, model, {.name = "linear"}, "fsdp_orig");
  const Value input(at::full({1, 1}, 3.0f, at::Device(t.device())));
  for (Model* one : {&model, &unsharded}) one->Backward(one->Forward({input}));
  const SummonOptions with_grads{.with_grads = true};
  WithFullParams(model, [&] {
    const Dict gradients = model.Gradients();
    t.Rule(SameValue("the gradients", unsharded.Gradients(), gradients));
    t.subject().Fill(gradients, 5);
  }, with_grads);
  t.subject().Fill(unsharded.Gradients(), 5);
  WithFullParams(model, [&] { t.Rule(SameValue("what was written", unsharded.Gradients(), model.Gradients())); }, with_grads);
}

RULE(SM14) {
  Model model = BuildTrained(t, TrainedStack(), "fsdp_orig");
  WithFullParams(model, [&] {
    const Dict parameters = model.Parameters();
    for (const auto& [name, value] : Twin(TrainedStack()).Parameters()) {
      const at::Tensor whole = value.AsTensor(), shown = parameters.At(name).AsTensor();
      if (whole.dim() < 2) continue;  // a part has one dimension
      t.Rule(Equal(ToString(name) + ": whether it is whole", ToString(name).starts_with("2."), shown.sizes() == whole.sizes()));
    }
  }, {.recurse = false});
}

RULE(SM15) {
  const std::string frozen = "0.weight";
  Model model = BuildTrained(t, TrainedStack(), "plain");
  model.SetRequiresGrad({frozen}, false);
  Wrap(t, model, TrainedStack(), "fsdp_orig");
  Accumulate(t, model, 0, PartOf(t, "fsdp_orig"));
  WithFullParams(model, [&] {
    for (const auto& [name, gradient] : model.Gradients()) {
      t.Rule(Equal(ToString(name) + ": whether there is a gradient", ToString(name) != frozen, !gradient.IsNone()));
    }
  }, {.with_grads = true});
}

RULE(SM16) {
  const Dict inner{{"kind", "sequential"}, {"children", Dict{{"layer", LinearNode(4)}}}};
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", Dict{{"first", LinearNode(4)}, {"second", inner}}}});
  Model model = BuildCoded(t, spec);
  WrapFsdp(model, "second.layer", FsdpOptionsOf(t, "fsdp_orig"));
  const Value input(at::ones({1, Twin(spec).Parameters().At("first.weight").AsTensor().size(1)}).to(c10::Device(t.device())));
  model.Forward({input});  // makes the unit a root
  for (const char* path : {"first", "second"}) WrapFsdp(model, path, FsdpOptionsOf(t, "fsdp_orig"));
  const Dict before = t.subject().Clone(model.Parameters()).AsDict();
  const bool refused = Refused(t, "full parameters of a unit that has another root below it", {"AssertionError", "RuntimeError"},
                               [&] { WithFullParams(model, [] {}); });
  if (refused) t.Rule(SameValue("parameters after the refusal", before, model.Parameters()));
}

RULE(SM17) {
  const std::vector<std::string> frozen = {"0.weight", "1.bias"};
  Model model = BuildTrained(t, TrainedStack(), "plain");
  model.SetRequiresGrad(frozen, false);
  Wrap(t, model, TrainedStack(), "fsdp_orig");
  WithFullParams(model, [&] {
    for (const auto& [name, value] : model.Parameters()) {
      const bool trains = std::ranges::count(frozen, ToString(name)) == 0;
      t.Rule(Equal(ToString(name) + ": requires_grad", trains, value.AsTensor().requires_grad()));
    }
  });
}

RULE(SM18) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model model = BuildTrained(t, TrainedStack(), wrapper), other = BuildTrained(t, TrainedStack(), wrapper);
  const Dict parameters = t.subject().Clone(model.Parameters()).AsDict();
  const Dict state = t.subject().Clone(GetState(model, form)).AsDict();
  const auto forward = [&](Model& one, int64_t width) {
    return one.Forward({Value(at::ones({2, width}).to(c10::Device(t.device())))});
  };
  if (!Refused(t, "a forward of an input of another width", {"RuntimeError"}, [&] { forward(model, 7); })) return;
  t.Rule(SameValue("parameters after the failed forward", parameters, model.Parameters()));
  t.Rule(SameValue("state dict after the failed forward", state, GetState(model, form)));
  t.Rule(SameValue("output after the failed forward", forward(other, 3), forward(model, 3)));
}

RULE(SM19) {
  Model model = BuildTrained(t, TrainedStack(), t.TextParam("wrapper"));
  WithFullParams(model, [&] {
    Dict saved;
    WithStateDictType(model, StateDictKind::kFull, {.offload_to_cpu = t.BoolParam("offload_to_cpu")},
                      [&] { saved = model.StateDict(); });
    const Dict before = t.subject().Clone(saved).AsDict();
    model.Fill(-1);
    t.Rule(SameValue("what was saved, after a change", before, saved));
  });
}

RULE(SM20) {
  const std::string form = "sharded";
  Model model = BuildTrained(t, TrainedStack(), "fsdp");
  const Dict before = t.subject().Clone(model.Parameters()).AsDict();
  Dict given = SavedFor(t, model, form);
  given.Set(t.TextParam("entry"), 3.5);
  const std::vector<std::string> kinds = {"AssertionError", "AttributeError", "TypeError", "RuntimeError", "ValueError"};
  if (!Refused(t, "a number in the place of a tensor", kinds, [&] { SetState(model, form, given); })) return;
  t.Rule(SameNames("registered parameters after the refused load", before.Keys(), model.Parameters().Keys()));
  t.Rule(SameValue("their values", before, model.Parameters()));
}

RULE(SM22) {
  Model model = BuildTrained(t, TrainedStack(), t.TextParam("wrapper"));
  const Value before = t.subject().Clone(model.Parameters());
  t.RuleRaises("NotImplementedError", "",
               [&] { WithFullParams(model, [] {}, {.writeback = false, .offload_to_cpu = true, .with_grads = true}); });
  t.Rule(SameValue("the registered parameters after the refused scope", before, model.Parameters()));
}

RULE(SM26) {
  Model model = BuildTrained(t, TrainedStack(), t.TextParam("wrapper"));
  WithFullParams(model, [&] {
    const Dict saved = GetState(model, "sharded");
    const Dict before = t.subject().Clone(saved).AsDict();
    model.Fill(-1);
    t.Rule(SameValue("what was saved, after a change", before, saved));
  });
}

// Its graph is gone: the second backward ends with an error somewhere in the middle.
RULE(SM27) {
  const std::string wrapper = t.TextParam("wrapper");
  const BatchPart part = PartOf(t, wrapper);
  Model model = BuildTrained(t, TrainedStack(), wrapper), other = BuildTrained(t, TrainedStack(), wrapper);
  const Value output = model.Forward({Value(at::ones({2, 3}).to(c10::Device(t.device())))});
  model.Backward(output);
  model.ZeroGrad();
  if (!Refused(t, "a second backward of one output", {"RuntimeError"}, [&] { model.Backward(output); })) return;
  model.ZeroGrad();
  Accumulate(t, model, 1, part);
  Accumulate(t, other, 1, part);
  t.Rule(SameValue("gradients of the next backward", other.Gradients(), model.Gradients()));
}

RULE(SM28) {
  const std::string frozen = "0.weight";
  Model model = BuildTrained(t, TrainedStack(), "fsdp_orig");
  const auto trains = [&](const std::string& when, bool expected) {
    Accumulate(t, model, 0, PartOf(t, "fsdp_orig"));
    const Dict gradients = model.Gradients();
    t.Rule(Equal("whether " + frozen + " has a gradient " + when, expected, !gradients.At(frozen).IsNone()));
    model.ZeroGrad();
  };
  Accumulate(t, model, 0, PartOf(t, "fsdp_orig"));
  model.ZeroGrad();
  const std::string changed = t.TextParam("changed");
  if (changed == "in a scope") {
    WithFullParams(model, [&] { model.SetRequiresGrad({frozen}, false); });
  } else {
    model.SetRequiresGrad({frozen}, false);
    changed == "before a move" ? model.Reallocate() : WithFullParams(model, [] {});
  }
  trains("after it was frozen", false);
}

RULE(SM29) {
  const ModelSpec spec = TrainedStack();
  const FullyShardOptions options{.mp_policy = MixedPrecisionPolicy{.param_dtype = "bfloat16"}};
  Model source = BuildTrained(t, spec, "plain"), model = BuildCoded(t, spec, "meta");
  for (Model* one : {&source, &model}) one->FullyShard("", options);
  const std::vector<Value> inputs = {Value(BatchInput(0, 3).to(c10::Device(t.device())))};
  if (!Refused(t, "a forward of parameters on meta", {"RuntimeError"}, [&] { model.Forward(inputs); })) return;
  model.LoadStateDict(t.subject().Clone(source.StateDict()).AsDict(), {.assign = true});
  const Value expected = source.Forward(inputs), actual = model.Forward(inputs);
  t.Rule(SameValue("the output", expected.AsTensor().detach(), actual.AsTensor().detach()));
  t.Rule(SameValue("the state dict after the forward", source.StateDict(), model.StateDict()));
}

RULE(SM30) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  WrapFsdp(model, "1", FsdpOptionsOf(t, "fsdp"));
  SetStateDictType(model, StateDictKind::kFull, {.offload_to_cpu = true});
  WrapFsdp(model, "", FsdpOptionsOf(t, "fsdp"));
  Refused(t, "the type of units that differ in a config", {"AssertionError"}, [&] { GetStateDictType(model); });
}

RULE(SM31) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  const Dict before = t.subject().Clone(model.Parameters()).AsDict();
  model.SetRequiresGrad({"0.weight"}, false);
  Refused(t, "a cast to integers", {"TypeError"}, [&] { model.Cast("int64"); });
  t.Rule(SameValue("the parameters after the refused cast", before, model.Parameters()));
}

}  // namespace shardcts::extended
