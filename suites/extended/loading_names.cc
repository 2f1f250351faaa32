// Loading: names that are missing, unexpected, or in another order.
#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "rank/whole.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

// Two layers, of which the first has a buffer and extra state, too.
ModelSpec LayersWithMore() {
  const Dict first = LinearNode(8, {{"buffers", Dict{{"scale", TensorNode({3})}}}, {"extra_state", 7}});
  return TreeSpec(Dict{{"kind", "sequential"}, {"children", List{first, LinearNode(4)}}}, {{"in", 3}}, {"0"});
}

// Three equal layers without biases: entries that are taken for one another fit.
ModelSpec EqualLayers() {
  return {.name = "linear_stack",
          .args = {{"sizes", ToValue(std::vector<int64_t>{3, 3, 3, 3})}, {"bias", false}},
          .units = {"0", "1"},
          .plan = {{"0", "colwise"}, {"1", "rowwise"}}};
}

const std::vector<std::string> kMissing = {"1.weight", "2.bias"};
constexpr const char* kUnexpected = "1.scale";

// What a load without strict is given: neither of kMissing, and kUnexpected.
Dict WithOtherNames(const Dict& state) {
  Dict changed = state;
  for (const std::string& name : kMissing) changed.Erase(name);
  changed.Set(kUnexpected, at::ones({5}));
  return changed;
}

// The new values of what was given, the old ones of what was not.
Dict ExpectedOf(const Dict& before, const Dict& loaded) {
  Dict expected = before;
  for (auto& [name, value] : expected) {
    if (!std::ranges::count(kMissing, ToString(name))) value = loaded.At(name);
  }
  return expected;
}

// A state dict in this form of a model that has OtherValues.
Dict OtherState(Trial& t, const std::string& wrapper, const std::string& form) {
  Model source = BuildWithOtherValues(t, wrapper);
  return SavedFor(t, source, form);
}

// The options of LO5 by their names, joined by "+".
StateDictOptions OptionsNamed(const std::string& names) {
  const auto has = [&](const char* name) { return names.find(name) != names.npos; };
  return {.full_state_dict = has("full") || has("broadcast"),
          .cpu_offload = has("offload"),
          .ignore_frozen_params = has("frozen"),
          .strict = false,
          .broadcast_from_rank0 = has("broadcast"),
          .flatten_optimizer_state_dict = has("flat")};
}

Dict Reversed(const Dict& dict) {
  Dict reversed;
  const std::vector<Dict::Entry> entries(dict.begin(), dict.end());
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) reversed.Set(entry->key, entry->value);
  return reversed;
}

// The state of a parameter left out; flat or not.
void EraseState(Dict& state_dict, const std::string& parameter) {
  if (Value* states = state_dict.Find("state")) {
    states->AsDict().Erase(parameter);
    return;
  }
  for (const std::string& key : state_dict.Keys()) {
    if (key.starts_with("state." + parameter + ".")) state_dict.Erase(key);
  }
}

// That of an unknown one added.
void AddState(Dict& state_dict) {
  const at::Tensor one = at::ones({});
  if (Value* states = state_dict.Find("state")) {
    states->AsDict().Set(kUnexpected, Dict{{"step", one}});
  } else {
    state_dict.Set(fmt::format("state.{}.step", kUnexpected), one);
  }
}

// The state by names, whole, as the suite assembles it. *Collective*.
Dict WholeState(Trial& t, Model& model, const Optimizer& optimizer) {
  const Dict saved = GetOptimizerStateDict(model, {optimizer});
  return t.subject().Clone(WholeDict(t, saved.At("state").AsDict())).AsDict();
}

// An optimizer whose state is the training's, and a state dict of other state to load.
struct States {
  Model model;
  Optimizer optimizer;
  Dict before;  // whole
  Dict other;   // whole
  Dict given;   // in the form
};

States BuildStates(Trial& t, const std::string& wrapper, const std::string& form) {
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  const Dict parameters = Twin(TrainedStack()).StateDict();
  SetOptimizerState(model, {optimizer}, "dsd_full", CodedAdamStateDict(parameters));
  const Dict other = SavedStateFor(t, model, optimizer, form);
  const Dict whole = WholeState(t, model, optimizer);
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  return {model, optimizer, WholeState(t, model, optimizer), whole, other};
}

}  // namespace

RULE(LO3) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  const ModelSpec spec = LayersWithMore();
  Model model = BuildTrained(t, spec, wrapper);
  const Dict good = SavedFor(t, model, form);
  for (const std::string& name : good.Keys()) {
    Dict given = good;
    given.Erase(name);
    const std::string kind = name.ends_with("_flat_param") ? "AssertionError" : "RuntimeError";
    if (!Refused(t, "without " + name, {kind}, [&] { SetState(model, form, GivenBy(t, form, given)); })) return;
  }
  StaysUsable(t, model, spec, wrapper, form, good);
  if (form != "dsd_sharded" && form != "dsd_full") return;
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const Dict state = SavedStateFor(t, model, optimizer, form);
  for (const std::string& name : Twin(spec).Parameters().Keys()) {
    Dict given = state;
    given.Find("state")->AsDict().Erase(name);
    if (!Refused(t, "without the state of " + name, {"RuntimeError"},
                 [&] { SetOptimizerState(model, {optimizer}, form, given); })) {
      return;
    }
  }
  SetOptimizerState(model, {optimizer}, form, state);
}

RULE(LO4) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Dict good = SavedFor(t, model, "dsd_broadcast");
  Dict given = good;
  given.Set(kUnexpected, at::ones({5}));
  given = GivenBy(t, "dsd_broadcast", given);
  if (t.BoolParam("strict")) {
    if (!Refused(t, "a name that rank 0 alone gives", {"RuntimeError"},
                 [&] { SetState(model, "dsd_broadcast", given); })) {
      return;
    }
  } else {
    const LoadResult result = SetState(model, "dsd_broadcast", given, {.strict = false});
    t.Rule(SameNames("missing keys", {}, result.missing_keys));
    t.Rule(SameNames("unexpected keys", {kUnexpected}, result.unexpected_keys));
  }
  StaysUsable(t, model, TrainedStack(), wrapper, "dsd_broadcast", good);
}

RULE(LO5) {
  const std::string wrapper = t.TextParam("wrapper");
  const StateDictOptions options = OptionsNamed(t.TextParam("options"));
  const std::string form = options.broadcast_from_rank0 ? "dsd_broadcast"
                           : options.full_state_dict    ? "dsd_full"
                           : options.flatten_optimizer_state_dict ? "dsd_flat"
                                                                  : "dsd_sharded";
  States states = BuildStates(t, wrapper, form);
  const Dict before = ParametersOf(t, states.model, wrapper);
  const Dict given = WithOtherNames(OtherState(t, wrapper, form));
  SetModelStateDict(states.model, GivenBy(t, form, given), options);
  SameState(t, "parameters", ExpectedOf(before, OtherValues()), ParametersOf(t, states.model, wrapper));
  AddState(states.given);
  SetOptimizerStateDict(states.model, {states.optimizer}, GivenBy(t, form, states.given), options);
  t.Rule(SameValue("state", states.other, InOrderOf(states.other, WholeState(t, states.model, states.optimizer))));
}

RULE(LO7) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Dict before = ParametersOf(t, model, wrapper);
  const Dict given = WithOtherNames(OtherState(t, wrapper, form));
  const LoadResult result = SetState(model, form, GivenBy(t, form, given), {.strict = false});
  SameState(t, "parameters", ExpectedOf(before, OtherValues()), ParametersOf(t, model, wrapper));
  t.Rule(SameNames("unexpected keys", {kUnexpected}, result.unexpected_keys));
  t.Rule(SameNames("missing keys", kMissing, result.missing_keys));
}

// A flat parameter has one step: there a whole unit lacks its state.
RULE(LO8) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  std::vector<std::vector<std::string>> cases = {{"1.weight", "1.bias"}};
  if (wrapper != "fsdp") cases.push_back({"0.bias"});
  for (const std::vector<std::string>& missing : cases) {
    States states = BuildStates(t, wrapper, form);
    Dict expected = states.other;
    for (const std::string& name : missing) {
      EraseState(states.given, name);
      expected.Set(name, states.before.At(name));
    }
    SetOptimizerState(states.model, {states.optimizer}, form, GivenBy(t, form, states.given), /*strict=*/false);
    const Dict loaded = WholeState(t, states.model, states.optimizer);
    t.Rule(SameValue("state, without that of " + missing.front(), expected, InOrderOf(expected, loaded)));
  }
}

RULE(LO9) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  const ModelSpec spec = EqualLayers();
  const bool differs = t.rank() == t.world_size() - 1;
  const auto given = [&](const Dict& state) { return GivenBy(t, form, differs ? Reversed(state) : state); };
  Model source = BuildWrapped(t, spec, wrapper);
  const Optimizer of_source = t.subject().CreateOptimizer(source, "adam");
  const Dict parameters = Twin(spec).StateDict();
  SetOptimizerState(source, {of_source}, form == "full" || form == "sharded" ? "full" : "dsd_full",
                    CodedAdamStateDict(parameters));
  const Dict values = SavedFor(t, source, form);
  Dict state = SavedStateFor(t, source, of_source, form);

  Model model = BuildCoded(t, spec);
  model.Fill(-1);
  Wrap(t, model, spec, wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetState(model, form, given(values));
  SameState(t, "parameters", parameters, ParametersOf(t, model, wrapper));
  if (Value* entries = state.Find("state")) {
    if (differs) *entries = Reversed(entries->AsDict());
    SetOptimizerState(model, {optimizer}, form, GivenBy(t, form, state));
  } else {
    SetOptimizerState(model, {optimizer}, form, given(state));
  }
  const Dict expected = CodedAdamState(parameters);
  const Dict loaded = WholeState(t, model, optimizer);
  t.Rule(SameValue("state", expected, InOrderOf(expected, loaded)));
}

// The module has a buffer that is not persistent, and no extra state.
RULE(LO17) {
  const ModelSpec spec = TreeSpec(LinearNode(
      4, {{"buffers", Dict{{"scratch", TensorNode({2}, "float32", {{"persistent", false}})}}}}));
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const std::string form = t.TextParam("form");
  for (const std::string name : {"scratch", "_extra_state", "weight.0", "weigh"}) {
    Dict given = SavedFor(t, model, form);
    given.Set(name, at::ones({2}));
    const bool refused = Refused(t, "a load with " + name, {"RuntimeError"}, [&] { SetState(model, form, given); });
    if (!refused) return;
  }
  SetState(model, form, SavedFor(t, model, form));
}

RULE(LO18) {
  const ModelSpec spec = {.name = "uneven_parameters",
                          .args = {{"shapes", List{List{}, ToValue(std::vector<int64_t>{3})}}}};
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const std::string form = t.TextParam("form");
  Dict given = Twin(spec).StateDict();
  given.Set("p0", at::full({1}, 77.0));
  SetState(model, form, given);
  Dict expected = given;
  expected.Set("p0", at::scalar_tensor(77.0, at::kFloat));
  SameState(t, "loaded and saved again", expected, GetState(model, form));
}

RULE(LO25) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  const ModelSpec spec = EqualLayers();
  Model source = BuildWrapped(t, spec, wrapper), model = BuildWrapped(t, spec, wrapper);
  const Optimizer of_source = t.subject().CreateOptimizer(source, "adam");
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const Dict parameters = Twin(spec).StateDict();
  const std::string whole = form.starts_with("dsd_") ? "dsd_full" : "full";
  SetOptimizerState(source, {of_source}, whole, CodedAdamStateDict(parameters));
  Dict given = SavedStateFor(t, source, of_source, form);
  if (t.rank() == t.world_size() - 1) {
    for (auto& [name, state] : given.Find("state")->AsDict()) state = Reversed(state.AsDict());
  }
  SetOptimizerState(model, {optimizer}, form, given);
  const Dict expected = CodedAdamState(parameters);
  t.Rule(SameValue("state", expected, InOrderOf(expected, WholeState(t, model, optimizer))));
  const Value gotten = GetOptimizerState(model, {optimizer}, whole).At("state");
  t.Rule(SameValue("what is gotten whole", expected, InOrderOf(expected, gotten)));
}

}  // namespace shardcts::extended
