// Optimizer state: whose it is, and its layout. What becomes of it over freezing and unequal steps is in
// optimizer_history.cc, state that is not there in optimizer_missing_state.cc, state of other forms in
// optimizer_forms.cc, the kinds of optimizers in optimizer_kinds.cc.
#include <ATen/ATen.h>

#include <algorithm>

#include "contract/fsdp.h"
#include "rank/whole.h"
#include "suites/extended/coded.h"
#include "suites/extended/coded_step.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/group_options.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/twin.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {
namespace {

// Uneven on 3 ranks; under tensor parallelism sharded on dimension 0, 1, 0.
const ModelSpec kUneven = {.name = "linear_stack",
                           .args = {{"sizes", ToValue(std::vector<int64_t>{2, 5, 7, 1})}},
                           .units = {"1"},
                           .plan = {{"0", "colwise"}, {"1", "rowwise"}, {"2", "colwise"}}};

std::vector<int64_t> WholeShapeOf(const Value& tensor) {
  const auto* sharded = tensor.TryAs<ShardedTensor>();
  return sharded ? sharded->shape : GlobalShape(tensor);
}

// Where a tensor's parts lie, in words.
std::string LayoutOf(const Value& tensor) {
  if (const auto* dtensor = tensor.TryAs<DTensor>()) {
    std::string placements;
    for (const Placement& placement : dtensor->placements) placements += placement.ToString() + " ";
    return fmt::format("shape {}, stride {}, placed {}on the mesh {}, local {}", ShapeToString(dtensor->shape),
                       ShapeToString(dtensor->stride), placements, dtensor->mesh.ToString(),
                       ShapeToString(dtensor->local.sizes()));
  }
  if (const auto* sharded = tensor.TryAs<ShardedTensor>()) {
    std::string text = fmt::format("shape {}", ShapeToString(sharded->shape));
    for (const ShardMetadata& shard : sharded->metadata) {
      text += fmt::format(", rank {}: {} at {}", shard.rank, ShapeToString(shard.sizes),
                          ShapeToString(shard.offsets));
    }
    for (const LocalShard& shard : sharded->local_shards) {
      text += fmt::format(", here {}", ShapeToString(shard.tensor.sizes()));
    }
    return text;
  }
  return fmt::format("plain {}", ShapeToString(tensor.AsTensor().sizes()));
}

std::vector<std::string> Reversed(std::vector<std::string> names) {
  std::ranges::reverse(names);
  return names;
}

}  // namespace

RULE(OP1) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(), t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", CodedAdam());
  ExpectedAdamState expected;
  for (int64_t step : {0, 1}) {
    CodedStep(t, model, optimizer, step);
    expected.Step(CodedGradients(t, step));
    HasStateByName(t, fmt::format("after step {}", step + 1), form, expected.state(),
                   GetOptimizerState(model, {optimizer}, form));
  }
}

RULE(OP2) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = wrapper.starts_with("fsdp") ? "sharded" : "dsd_sharded";
  const bool loaded = t.TextParam("state") == "loaded";  // otherwise the get makes it
  Model model = BuildWrapped(t, kUneven, wrapper);
  const Dict full = Twin(kUneven).Parameters();
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  if (loaded) SetOptimizerState(model, {optimizer}, WholeFormOf(wrapper), CodedAdamStateDict(full));
  const Dict expected = loaded ? CodedAdamState(full) : ExpectedAdamState().CompletedFor(full);
  const Dict parameters = GetState(model, form);
  const Dict state = GetOptimizerState(model, {optimizer}, form).At("state").AsDict();
  for (const auto& [name, value] : full) {
    const Dict& of_parameter = state.At(name).AsDict();
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      t.Rule(Equal(fmt::format("{}.{}: layout", ToString(name), moment), LayoutOf(parameters.At(name)),
                   LayoutOf(of_parameter.At(moment))));
    }
    t.Rule(Equal(ToString(name) + ".step: layout", std::string("plain ()"), LayoutOf(of_parameter.At("step"))));
  }
  SameState(t, "whole", expected, WholeDict(t, InOrderOf(expected, state).AsDict()));
}

RULE(OP3) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const ModelSpec spec = {.name = "linear_stack",
                          .args = {{"sizes", ToValue(std::vector<int64_t>{3, 2, 1})}},
                          .units = {"0"}};
  Model model = BuildWrapped(t, spec, wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  for (int step = 0; step < 2; ++step) TrainOneStep(t, model, {optimizer});
  const Dict state = GetOptimizerState(model, {optimizer}, form).At("state").AsDict();
  const std::vector<std::string> names = Twin(spec).Parameters().Keys();
  t.Rule(SameNameSet("parameters", names, state.Keys()));
  for (const std::string& name : names) {
    const Value* of_parameter = state.Find(name);
    if (!of_parameter) continue;
    const Dict& entries = of_parameter->AsDict();
    if (!t.Rule(SameNameSet(name, {"step", "exp_avg", "exp_avg_sq"}, entries.Keys()))) continue;
    t.Rule(SameValue(name + ".step", at::scalar_tensor(2, at::kFloat), entries.At("step")));
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      t.Rule(Equal(fmt::format("{}.{}: global shape", name, moment), GlobalShape(Twin(spec).Parameters().At(name)),
                   WholeShapeOf(entries.At(moment))));
    }
  }
}

// Rank 1 lists its parameters in reverse.
RULE(OP18) {
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, ThreeBranches(/*bias=*/false), t.TextParam("wrapper"));
  const auto make = [&] {
    const std::vector<std::string> names = model.Parameters().Keys();
    return t.subject().CreateOptimizer(model, "adam", CodedAdam(), {{t.rank() == 1 ? Reversed(names) : names}});
  };
  Dict gradients;
  for (const auto& [name, value] : CodedGradients(t, 0)) {
    if (ToString(name).ends_with("weight")) gradients.Set(name, value);
  }
  ExpectedAdamState expected;
  expected.Step(gradients);
  const Optimizer optimizer = make();
  CodedStep(t, model, optimizer, 0);
  const Dict saved = GetOptimizerState(model, {optimizer}, form);
  HasStateByName(t, "saved", form, expected.state(), saved);
  const Optimizer loaded = make();
  SetOptimizerState(model, {loaded}, form, saved);
  HasStateByName(t, "saved, loaded and saved again", form, expected.state(), GetOptimizerState(model, {loaded}, form));
}

}  // namespace shardcts::extended
