// Resharding in one run: state of one wrapper and world loaded into another.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "contract/fsdp_optim.h"
#include "rank/session.h"
#include "rank/whole.h"
#include "suites/extended/refusals.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

ModelSpec ReshardedModel(const std::string& name) {
  if (name == "stack") return TrainedStack();
  if (name == "tied") return {.name = "tied_embedding", .args = {{"vocab", 11}, {"dim", 3}}};
  if (name == "buffers") return {.name = "inner_outer", .args = {{"register_buffers", true}}, .units = {"inner"}};
  throw HarnessError(fmt::format("no model \"{}\"", name));
}

// "fsdp", over all ranks, or "fsdp/2", one over each half of them; "plain/1" is one on each rank.
void WrapFor(Trial& t, Model& model, const ModelSpec& spec, const std::string& target) {
  const size_t slash = target.find('/');
  if (slash == target.npos) return Wrap(t, model, spec, target);
  WrapInHalves(t, model, spec, target.substr(0, slash));
}

// Wrapped after its values were lost.
Model BuildForgetful(Trial& t, const ModelSpec& spec, const std::string& target) {
  Model model = BuildCoded(t, spec);
  model.Fill(-1, /*buffers=*/true);
  WrapFor(t, model, spec, target);
  return model;
}

Model BuildOver(Trial& t, const ModelSpec& spec, const std::string& target) {
  Model model = BuildCoded(t, spec);
  WrapFor(t, model, spec, target);
  return model;
}

// The order of names is another rule's.
void SameInAnyOrder(Trial& t, std::string_view what, const Dict& expected, const Dict& actual) {
  SameState(t, what, expected, InOrderOf(expected, actual).AsDict());
}

bool IsOverWorld(const std::string& target) { return target.find('/') == target.npos; }

void HasOptimizerState(Trial& t, std::string_view what, const Dict& parameters, const Dict& actual) {
  const Dict expected = CodedAdamState(parameters);
  t.Rule(SameValue(fmt::format("{}: state", what), expected, InOrderOf(expected, actual.At("state"))));
  const List groups = actual.At("param_groups").AsList();
  if (!t.Rule(Equal<size_t>(fmt::format("{}: groups", what), 1, groups.size()))) return;
  t.Rule(Equal(fmt::format("{}: lr", what), 1.0 / 64, groups[0].AsDict().At("lr").AsDouble()));
  t.Rule(SameNameSet(fmt::format("{}: params", what), parameters.Keys(), groups[0].AsDict().At("params").AsStrings()));
}

// FSDP1's whole state by ids, for an optimizer that only the model tells the ids of.
void LoadsByIds(Trial& t, const ModelSpec& spec, const Dict& parameters, const Dict& whole) {
  Model plain = BuildCoded(t, spec);
  Optimizer optimizer = t.subject().CreateOptimizer(plain, "adam");
  const Dict by_ids = RekeyOptimStateDict(whole, OptimStateKeyType::kParamId, plain);
  optimizer.LoadStateDict(by_ids);
  const Dict coded = CodedAdamState(parameters);
  Dict expected;
  int64_t id = 0;
  for (const auto& [name, state] : coded) expected.Set(id++, state);
  t.Rule(SameValue("state by ids", expected, InOrderOf(expected, optimizer.StateDict().At("state"))));
}

}  // namespace

RULE(RS1) {
  const ModelSpec spec = ReshardedModel(t.TextParam("model"));
  const std::string to = t.TextParam("to");
  Model source = BuildOver(t, spec, t.TextParam("from"));
  const Dict expected = Twin(spec).StateDict();
  const Dict whole = GetState(source, "dsd_full");
  SameInAnyOrder(t, "what was saved", expected, whole);
  Model target = BuildForgetful(t, spec, to);
  SetState(target, "dsd_full", whole);
  SameInAnyOrder(t, "what was loaded", expected, GetState(target, "dsd_full"));
  if (IsOverWorld(to)) SameInAnyOrder(t, "its pieces", expected, WholeDict(t, GetState(target, "dsd_sharded")));
}

RULE(RS2) {
  const ModelSpec spec = ReshardedModel(t.TextParam("model"));
  const Dict parameters = Twin(spec).Parameters();
  Model source = BuildOver(t, spec, t.TextParam("from"));
  const Optimizer saved = t.subject().CreateOptimizer(source, "adam");
  SetOptimizerState(source, {saved}, "dsd_full", CodedAdamStateDict(parameters));
  const Dict whole = GetOptimizerState(source, {saved}, "dsd_full");
  HasOptimizerState(t, "what was saved", parameters, whole);
  const std::string to = t.TextParam("to");
  if (to == "ids") return LoadsByIds(t, spec, parameters, whole);
  Model target = BuildOver(t, spec, to);
  const Optimizer loaded = t.subject().CreateOptimizer(target, "adam");
  SetOptimizerState(target, {loaded}, "dsd_full", whole);
  HasOptimizerState(t, "what was loaded", parameters, GetOptimizerState(target, {loaded}, "dsd_full"));
}

RULE(RS3) {
  const ModelSpec spec = TrainedStack();
  const std::string there = t.TextParam("from");
  const std::string wrapper = there.substr(0, there.find('/'));
  Model first = BuildOver(t, spec, there);
  Model between = BuildForgetful(t, spec, t.TextParam("to"));
  Model last = BuildForgetful(t, spec, there);
  SetState(between, "dsd_full", GetState(first, "dsd_full"));
  SetState(last, "dsd_full", GetState(between, "dsd_full"));
  SameState(t, "there and back", TrainedParameters(first, wrapper), TrainedParameters(last, wrapper));
}

RULE(RS4) {
  const std::string wrapper = t.TextParam("wrapper");
  const ModelSpec spec = TrainedStack();
  const Dict expected = Twin(spec).StateDict();
  Model model = BuildWrapped(t, spec, wrapper);
  SameState(t, "full_state_dict", expected, GetState(model, "dsd_full"));
  const bool is_fsdp1 = wrapper.starts_with("fsdp");
  const bool has_mesh = wrapper == "fsdp_mesh" || !is_fsdp1;
  const Dict pieces = GetState(model, is_fsdp1 ? "sharded" : "native");
  if (is_fsdp1) SameState(t, "FULL", expected, GetState(model, "full"));
  for (const auto& [name, value] : pieces) {
    if (has_mesh) t.Rule(IsDTensor(ToString(name), value));
  }
  SameWholeState(t, "the pieces put together", expected, pieces);
  const Dict gathered = has_mesh ? t.subject().FullTensors(pieces) : GatherStateDict(model.caller(), pieces);
  SameState(t, has_mesh ? "tensor.full" : "sharded.gather", expected, gathered);
}

RULE(RS5) {
  const ModelSpec spec = TrainedStack();
  Model source = BuildWrapped(t, spec, "fsdp");
  const Dict pieces = GetState(source, "sharded");
  Model target = BuildForgetful(t, spec, "fsdp/2");
  const Dict before = GetState(target, "full");
  t.RuleRaises("RuntimeError", "", [&] { SetState(target, "sharded", pieces); });
  SameState(t, "after the refused load", before, GetState(target, "full"));
}

RULE(RS6) {
  const ModelSpec spec = TrainedStack();
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  Dict given = t.subject().Clone(GetState(model, "native")).AsDict();
  if (t.TextParam("given") == "plain") {
    given.Set("1.weight", at::zeros({5, 8}));
  } else {
    Model pieces = BuildWrapped(t, spec, "fully_shard");
    given.Set("1.weight", GetState(pieces, "native").At("1.weight"));
  }
  t.RuleRaises("RuntimeError", "1.weight", [&] { SetState(model, "native", given); });
}

RULE(RS7) {
  const ModelSpec spec = TrainedStack();
  Model model = BuildTrained(t, spec, t.TextParam("wrapper"));
  const Dict before = t.subject().Clone(model.Parameters()).AsDict();
  Dict given = t.subject().Clone(model.StateDict()).AsDict();
  given.Set("0.weight", Twin(spec).StateDict().At("0.weight").AsTensor().to(c10::Device(t.device())));
  const auto load = [&] { model.LoadStateDict(given, {.assign = true}); };
  if (!Refused(t, "a plain tensor in the place of a sharded parameter", {"RuntimeError"}, load)) return;
  t.Rule(SameValue("the parameters after the refused load", before, model.Parameters()));
}

}  // namespace shardcts::extended
