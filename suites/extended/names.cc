// Names: the names of entries, their order, and their way through wrappers.
#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "contract/dsd.h"
#include "rank/session.h"
#include "contract/fsdp.h"
#include "suites/extended/comparison.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

struct Layer {
  const char* wrapper;
  const char* path;
};

// Wrappers one after the other, as the parameter `stack` of a rule says.
const std::map<std::string, std::vector<Layer>>& Stacks() {
  static const std::map<std::string, std::vector<Layer>> stacks{
      {"compile_root", {{"compile", ""}}},
      {"compile_child", {{"compile", "a"}}},
      {"compile_grandchild_in_ddp", {{"compile", "a.0"}, {"ddp", ""}}},
      {"checkpoint_child", {{"checkpoint", "a"}}},
      {"checkpoint_outside_compile", {{"compile", "a"}, {"checkpoint", "a"}}},
      {"compile_outside_checkpoint", {{"checkpoint", "a"}, {"compile", "a"}}},
      {"ddp_root", {{"ddp", ""}}},
      {"compile_outside_ddp", {{"ddp", ""}, {"compile", ""}}},
      {"replicate_outside_checkpoint", {{"checkpoint", "a"}, {"replicate", ""}}},
      {"fsdp_over_checkpoint", {{"checkpoint", "a"}, {"fsdp", ""}}},
      {"fsdp_units_over_checkpoint", {{"checkpoint", "a.0"}, {"fsdp", "a"}, {"fsdp", ""}}},
      {"fsdp_over_compile", {{"compile", "a"}, {"fsdp", ""}}},
      {"fsdp_orig_over_compile", {{"compile", "a"}, {"fsdp_orig", ""}}},
      {"fsdp_orig_over_checkpoint", {{"checkpoint", "a"}, {"fsdp_orig", ""}}},
      {"fully_shard_over_checkpoint", {{"checkpoint", "a"}, {"fully_shard", "a"}, {"fully_shard", ""}}},
      {"fully_shard_over_compile", {{"compile", "a"}, {"fully_shard", ""}}},
      {"compile_over_fully_shard", {{"fully_shard", "a"}, {"fully_shard", ""}, {"compile", ""}}},
  };
  return stacks;
}

void Apply(Model& model, const Layer& layer) {
  const std::string wrapper = layer.wrapper;
  if (wrapper == "fully_shard") return model.FullyShard(layer.path);
  if (wrapper == "checkpoint") return WrapCheckpoint(model, layer.path);
  if (wrapper == "fsdp" || wrapper == "fsdp_orig") {
    return WrapFsdp(model, layer.path, {.use_orig_params = wrapper == "fsdp_orig"});
  }
  Require(model.caller(), "model.wrap", {{"model", model.handle()}, {"path", layer.path}, {"wrapper", wrapper}});
}

Model BuildStack(Trial& t, const ModelSpec& spec, const std::string& stack) {
  Model model = BuildCoded(t, spec);
  const auto found = Stacks().find(stack);
  if (found == Stacks().end()) throw HarnessError(fmt::format("no stack \"{}\"", stack));
  for (const Layer& layer : found->second) Apply(model, layer);
  return model;
}

// `a` with `0` and `1`, and `b`.
ModelSpec TwoLevels() {
  const Dict inner{{"kind", "sequential"}, {"children", List{LinearNode(5), LinearNode(3)}}};
  return TreeSpec({{"kind", "sequential"}, {"children", Dict{{"a", inner}, {"b", LinearNode(2)}}}});
}

// Twelve siblings, of which some are wrapped singly, and then the root where the wrapper is a sharding one.
ModelSpec TwelveSiblings() {
  List children;
  for (int i = 0; i < 12; ++i) children.push_back(LinearNode(3 + i % 2));
  return TreeSpec({{"kind", "sequential"}, {"children", children}});
}

Model WithWrappedSiblings(Trial& t, const ModelSpec& spec, const std::string& wrapper,
                          const std::vector<std::string>& siblings) {
  Model model = BuildCoded(t, spec);
  for (const std::string& path : siblings) Apply(model, {wrapper.c_str(), path.c_str()});
  if (wrapper == "fsdp" || wrapper == "fsdp_orig" || wrapper == "fully_shard") Apply(model, {wrapper.c_str(), ""});
  return model;
}

Model ModuleNamed(Trial& t, const std::vector<std::string>& names, const std::string& wrapper, ModelSpec& spec) {
  Dict children;
  for (const std::string& name : names) {
    children.Set(name, LinearNode(4, {{"parameters", Dict{{names.front(), TensorNode({3})}}}}));
  }
  spec = TreeSpec({{"kind", "sequential"}, {"children", children}});
  return BuildWrapped(t, spec, wrapper);
}

// Names of a flat state dict of Adam's state, in any order.
std::vector<std::string> FlatNames(const Dict& nested) {
  std::vector<std::string> names;
  for (const auto& [name, state] : nested.At("state").AsDict()) {
    for (const std::string& entry : state.AsDict().Keys()) names.push_back("state." + ToString(name) + "." + entry);
  }
  for (const Value& group : nested.At("param_groups").AsList()) {
    for (const std::string& name : group.AsDict().At("params").AsStrings()) {
      for (const std::string& option : group.AsDict().Keys()) {
        if (option != "params") names.push_back("param_groups." + name + "." + option);
      }
    }
  }
  return names;
}

// Model and optimizer state go out and in, nested and flat, under these names.
void SurviveNestedAndFlat(Trial& t, const std::vector<std::string>& names) {
  const std::string wrapper = t.TextParam("wrapper");
  ModelSpec spec;
  Model model = ModuleNamed(t, names, wrapper, spec);
  const Twin twin(spec);
  for (const char* form : {"dsd_sharded", "dsd_full"}) HasState(t, form, twin.StateDict(), model, form);
  Model loaded = LoadedFromCoded(t, spec, wrapper, "dsd_full");
  HasState(t, "loaded", twin.StateDict(), loaded, "dsd_full");

  const Dict expected = CodedAdamStateDict(twin.Parameters());
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, "dsd_full", expected);
  const Dict flat = GetOptimizerState(model, {optimizer}, "dsd_flat");
  t.Rule(SameNameSet("flat optimizer state: names",
                     FlatNames(GetOptimizerState(model, {optimizer}, "dsd_sharded")), flat.Keys()));
  const Optimizer other = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {other}, "dsd_flat", flat);
  HasEntries(t, "state from the flat dict", expected.At("state").AsDict(),
             GetOptimizerState(model, {other}, "dsd_full").At("state").AsDict());
}

// A get of the distributed functions that selects one submodule gives what is below it, and nothing of its siblings.
void SelectsOnly(Trial& t, const Model& model, const std::string& path, const std::string& form, const Dict& whole) {
  std::vector<Warning> warnings;
  const Dict selected = GetModelStateDict(model, {.full_state_dict = form == "dsd_full"},
                                          {.submodules = {path}, .warnings = &warnings});
  std::vector<std::string> names;
  for (const std::string& name : whole.Keys()) {
    if (name.starts_with(path + ".")) names.push_back(name);
  }
  t.Rule(SameNameSet("names below " + path, names, selected.Keys()));
}

Dict Below(const Dict& state, const std::string& path) {
  Dict below;
  for (const auto& [key, value] : state) {
    const std::string name = ToString(key);
    if (name.starts_with(path + ".")) below.Set(name.substr(path.size() + 1), value);
  }
  return below;
}

}  // namespace

RULE(NA1) {
  const ModelSpec spec = TwoLevels();
  const std::string form = t.TextParam("form");
  const Twin twin(spec);
  Model model = BuildStack(t, spec, t.TextParam("stack"));
  const Dict state = GetState(model, form);
  if (!HasEntries(t, "model", twin.StateDict(), ForAllRanks(t, form, state))) return;
  const LoadResult result = SetState(model, form, state);
  t.Rule(SameNames("missing keys", {}, result.missing_keys));
  t.Rule(SameNames("unexpected keys", {}, result.unexpected_keys));
  HasState(t, "model after the load", twin.StateDict(), model, form);
  if (!form.starts_with("dsd_")) return;
  const Dict moments = CodedAdamStateDict(twin.Parameters());
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, "dsd_full", moments);
  const Dict saved = GetOptimizerState(model, {optimizer}, form);
  const Dict seen = ForAllRanks(t, form, saved);
  t.Rule(SameNameSet("optimizer state: names", twin.Parameters().Keys(), seen.At("state").AsDict().Keys()));
  SetOptimizerState(model, {optimizer}, form, saved);
  HasEntries(t, "optimizer state after the load", moments.At("state").AsDict(),
             GetOptimizerState(model, {optimizer}, "dsd_full").At("state").AsDict());
}

RULE(NA2) {
  const ModelSpec spec = TwoLevels();
  const std::string form = t.TextParam("form");
  Model model = BuildStack(t, spec, t.TextParam("stack"));
  const Dict before = GetState(model, form);
  SetState(model, form, before);
  t.Rule(SameNames("names after the load", before.Keys(), GetState(model, form).Keys()));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  optimizer.InitState();
  const Dict state = GetOptimizerState(model, {optimizer}, form);
  SetOptimizerState(model, {optimizer}, form, state);
  const Dict again = GetOptimizerState(model, {optimizer}, form);
  t.Rule(SameNames("top-level names of optimizer state after the load", state.Keys(), again.Keys()));
  if (!state.Contains("state")) return;
  t.Rule(SameNames("names of optimizer state after the load", state.At("state").AsDict().Keys(),
                   again.At("state").AsDict().Keys()));
}

RULE(NA3) {
  const ModelSpec spec = TwelveSiblings();
  const std::string form = t.TextParam("form");
  Model model = WithWrappedSiblings(t, spec, t.TextParam("wrapper"), {"1", "5", "10"});
  SameWholeState(t, "model", Twin(spec).StateDict(), GetState(model, form));
}

RULE(NA4) {
  const ModelSpec spec = TwelveSiblings();
  const std::string form = t.TextParam("form");
  Model model = WithWrappedSiblings(t, spec, t.TextParam("wrapper"), {"1"});
  Twin twin(spec);
  HasState(t, "model", twin.StateDict(), model, form);
  // Only 11 gets other values.
  Dict changed = twin.StateDict();
  for (auto& [key, value] : changed) {
    if (ToString(key).starts_with("11.")) value = value.AsTensor() + 0.5;
  }
  SetState(model, form, changed);
  HasState(t, "model after a load that changes 11", changed, model, form);
  if (form.starts_with("dsd_")) SelectsOnly(t, model, "1", form, changed);
}

RULE(NA5) { SurviveNestedAndFlat(t, {"module", "state", "param_groups", "params", "step"}); }

RULE(NA6) { SurviveNestedAndFlat(t, {"two words", "größe", "Case", "case", std::string(300, 'n')}); }

RULE(NA7) {
  const ModelSpec spec = TwoLevels();
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildCoded(t, spec);
  if (wrapper == "ddp" || wrapper == "fully_shard" || wrapper == "fsdp" || wrapper == "fsdp_orig") {
    Apply(model, {wrapper.c_str(), ""});
  } else {
    Apply(model, {"fsdp", "b"});  // the inner module is beside the only unit
  }
  const Dict expected = Below(Twin(spec).StateDict(), "a");
  Dict inner;
  try {
    inner = model.StateDict({}, "a");
  } catch (const OperationFailed& failed) {
    t.Rule(Equal<std::string>("kind of the error", "RuntimeError", failed.error().kind));
    return;
  }
  HasEntries(t, "inner module", expected, inner);
}

RULE(NA9) {
  const ModelSpec spec = TwoLevels();
  const std::string form = t.TextParam("form");
  Model model = BuildStack(t, spec, t.TextParam("stack"));
  Dict state = Twin(spec).StateDict();
  state.Erase("a.0.weight");
  state.Set("a.0.other", at::zeros({1}));
  const LoadResult result = form == "native"
                                ? model.LoadStateDict(state, {.strict = false})
                                : SetModelStateDict(model, state, {.full_state_dict = true, .strict = false});
  t.Rule(SameNames("missing keys", {"a.0.weight"}, result.missing_keys));
  t.Rule(SameNames("unexpected keys", {"a.0.other"}, result.unexpected_keys));
  if (form != "native") return;
  try {
    model.LoadStateDict(state);
    t.Rule(Holds(false, "a strict load with a missing and an unexpected key", "did not fail"));
  } catch (const OperationFailed& failed) {
    for (const char* name : {"\"a.0.weight\"", "\"a.0.other\""}) {
      t.Rule(Holds(failed.error().message.find(name) != std::string::npos, "message",
                   fmt::format("does not name {}: {}", name, failed.error().message)));
    }
  }
}

RULE(NA10) {
  const ModelSpec spec = TwoLevels();
  const std::string path = t.TextParam("path");
  Model model = BuildCoded(t, spec);
  WrapFsdp(model, path, {.auto_wrap_policy = AutoWrapPolicy::Names({"a.1", "b"})});
  std::vector<std::string> units;
  for (const Value& unit : FsdpUnits(model)) units.push_back(unit.AsDict().At("path").AsString());
  const std::vector<std::string> expected = path.empty() ? std::vector<std::string>{"", "a.1", "b"}
                                                         : std::vector<std::string>{"a", "a.1"};
  t.Rule(SameNameSet("paths of units", expected, units));
  if (path.empty()) SameWholeState(t, "model", Twin(spec).StateDict(), GetState(model, "full"));
}

// a.0 has 25 elements, a.1 12 and b 24; what is left of a without a unit of a.0 is smaller than any of the limits.
RULE(NA11) {
  const Dict inner{{"kind", "sequential"}, {"children", List{LinearNode(5), LinearNode(2)}}};
  const ModelSpec spec =
      TreeSpec({{"kind", "sequential"}, {"children", Dict{{"a", inner}, {"b", LinearNode(8)}}}}, {{"in", 4}});
  const std::string ignored = t.TextParam("ignored");
  FsdpOptions options{.auto_wrap_policy = AutoWrapPolicy::SizeBased(t.IntParam("least"))};
  if (ignored != "none") options.ignored_states = {ignored};
  Model model = BuildCoded(t, spec);
  WrapFsdp(model, "", options);
  std::vector<std::string> units, expected{"", "a.0"};
  if (ignored == "none" && t.IntParam("least") <= 24) expected.push_back("b");
  for (const Value& unit : FsdpUnits(model)) units.push_back(unit.AsDict().At("path").AsString());
  t.Rule(SameNameSet("paths of units", expected, units));
  SameWholeState(t, "model", Twin(spec).StateDict(), GetState(model, "full"));
}

// Layers "first" and "second" have one weight, and are in no unit.
RULE(NA12) {
  const Dict children{{"unit", LinearNode(3)}, {"first", LinearNode(3)}, {"second", LinearNode(3)}};
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", children}},
                                  {{"in", 3}, {"ties", List{List{"first.weight", "second.weight"}}}});
  Model model = BuildCoded(t, spec);
  WrapFsdp(model, "unit", FsdpOptionsOf(t, t.TextParam("wrapper")));
  model.SetRequiresGrad({"first.weight"}, false);
  const Dict saved = GetModelStateDict(model, {.ignore_frozen_params = true});
  t.Rule(SameNameSet("names", {"unit.weight", "unit.bias", "first.bias", "second.bias"}, saved.Keys()));
}

}  // namespace shardcts::extended
