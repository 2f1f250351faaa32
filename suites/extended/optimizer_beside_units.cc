// Optimizer state of models of which FSDP1 manages a part only.
#include <ATen/ATen.h>

#include "contract/fsdp_optim.h"
#include "suites/extended/coded_step.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

// Layer "b" is of DTensors, the other two are units.
Model BuildBeside(Trial& t) {
  Model model = BuildCoded(t, ThreeBranches());
  if (t.TextParam("beside") == "tp") {
    model.Parallelize(t.subject().InitMesh({t.world_size()}, {"tp"}), {{"b", "colwise"}});
  } else {
    model.FullyShard("b");
  }
  for (const char* path : {"a", "c"}) WrapFsdp(model, path, FsdpOptionsOf(t, t.TextParam("wrapper")));
  return model;
}

}  // namespace

RULE(OP45) {
  const std::string form = t.TextParam("form");
  const Dict whole = CodedAdamStateDict(Twin(ThreeBranches()).Parameters());
  const Dict expected = whole.At("state").AsDict();
  Model model = BuildBeside(t);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, "dsd_full", whole);
  const Dict saved = t.subject().Clone(GetOptimizerState(model, {optimizer}, form)).AsDict();
  if (!HasStateByName(t, "what was saved", form, expected, saved)) return;
  const Dict parameters = model.Parameters();
  for (const char* name : {"b.weight", "b.bias"}) {
    if (form != "dsd_sharded") break;
    const Value& moment = saved.At("state").AsDict().At(name).AsDict().At("exp_avg");
    const std::string what = std::string(name) + ": exp_avg";
    if (!t.Rule(IsDTensor(what, moment))) continue;
    t.Rule(Equal(what + ": placements", ToString(parameters.At(name).AsDTensor().placements),
                 ToString(moment.AsDTensor().placements)));
  }
  Model again = BuildBeside(t);
  const Optimizer loaded = t.subject().CreateOptimizer(again, "adam");
  SetOptimizerState(again, {loaded}, form, saved);
  HasStateByName(t, "what was loaded", "dsd_full", expected, GetOptimizerState(again, {loaded}, "dsd_full"));
}

RULE(RK19) {
  const ModelSpec spec = TrainedStack();
  Model model = BuildTrained(t, spec, "plain");
  FsdpOptions inner = FsdpOptionsOf(t, t.TextParam("wrapper")), outer = inner;
  (t.TextParam("mesh") == "inner" ? inner : outer).device_mesh = t.subject().InitMesh({t.world_size()});
  WrapFsdp(model, "1", inner);
  WrapFsdp(model, "", outer);
  const Dict expected = TrainedParameters(model, "fsdp");
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const Dict given = CodedAdamStateDict(Twin(spec).Parameters());
  SetOptimizerState(model, {optimizer}, "full", given);
  WithStateDictType(model, StateDictKind::kSharded, [&] {
    SameWholeState(t, "parameters", expected, model.StateDict());
    const Dict saved = OptimStateDict(model, optimizer);
    HasStateByName(t, "optimizer state", "sharded", given.At("state").AsDict(), saved);
  });
}

}  // namespace shardcts::extended
