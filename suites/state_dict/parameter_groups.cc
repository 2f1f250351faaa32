// Several parameter groups, one of them without parameters, under tensor parallelism.
#include <ATen/ATen.h>

#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

constexpr double kFirstRate = 0.1;
constexpr double kSecondRate = 0.2;

std::vector<ParameterGroup> Groups(const Trial& t, double second_rate) {
  ParameterGroup first, second;
  first.parameters = {"fc.weight"};
  (t.TextParam("groups") == "two" ? second : first).parameters.push_back("fc1.weight");
  second.options.lr = second_rate;
  return {first, second};
}

// Both groups with the parameters that they own, no bias.
void ExpectOwnedParameters(Trial& t, std::string_view check, const Dict& saved,
                           const std::vector<ParameterGroup>& groups) {
  t.Strict(check, SameNameSet("parameters with state", {"fc.weight", "fc1.weight"}, StateOf(saved).Keys()));
  const List& actual = GroupsOf(saved);
  if (!t.Strict(check, Equal("parameter groups", groups.size(), actual.size()))) return;
  for (size_t i = 0; i < groups.size(); ++i) {
    const Dict& group = actual[i].AsDict();
    const std::string what = "group " + std::to_string(i);
    t.Strict(check, SameNames(what, groups[i].parameters, group.At("params").AsStrings()));
    t.Strict(check, Equal(what + ".lr", i == 0 ? kFirstRate : kSecondRate, group.At("lr").AsDouble()));
  }
}

// Strict: with the placements of the weight of that id.
void ExpectPlacements(Trial& t, std::string_view check, const Dict& state) {
  const std::vector<std::string> placements = {"S(0)", "S(1)"};
  for (size_t id = 0; id < placements.size(); ++id) {
    const Value* entry = state.Find(Key(static_cast<int64_t>(id)));
    if (!t.Strict(check, Holds(entry != nullptr, std::to_string(id), "has no state"))) continue;
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      const Value& value = entry->AsDict().At(moment);
      if (!t.Strict(check, IsDTensor(moment, value))) continue;
      t.Strict(check, Equal(moment, placements[id], value.AsDTensor().placements.front().ToString()));
    }
  }
}

}  // namespace

PORT(test_multi_param_groups) {
  t.subject().Seed(1234);
  Model model = t.subject().Build("two_linears", {{"dim", 64}}, t.device());
  model.Parallelize(t.subject().InitMesh({t.world_size()}), {{"fc", "colwise"}, {"fc1", "rowwise"}});
  const std::vector<ParameterGroup> groups = Groups(t, kSecondRate);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adamw", {.lr = kFirstRate}, groups);
  StepOnSum(model, optimizer, NormalInput(t, {64, 64}));
  optimizer.ZeroGrad();

  const StateDictOptions options{.full_state_dict = t.BoolParam("full_state_dict"),
                                 .cpu_offload = t.BoolParam("cpu_offload"),
                                 .broadcast_from_rank0 = t.BoolParam("broadcast_from_rank0")};
  Dict saved;
  t.NoError("C1", [&] { saved = GetOptimizerStateDict(model, {optimizer}, options); });
  ExpectOwnedParameters(t, "C1", saved, groups);
  // Other learning rates than the saved ones: upstream's optimizers share their groups, which are equal before.
  const Optimizer loaded = t.subject().CreateOptimizer(model, "adamw", {.lr = 0.3}, Groups(t, 0.4));
  t.NoError("C2", [&] { SetOptimizerStateDict(model, {loaded}, saved, options); });
  const Dict expected = optimizer.StateDict();
  const Dict actual = loaded.StateDict();
  ExpectEqual(t, "C3", "groups", expected.At("param_groups"), actual.At("param_groups"));
  ExpectEqual(t, "C4", "state", StateOf(expected), StateOf(actual));
  ExpectPlacements(t, "C4", StateOf(actual));
}

}  // namespace shardcts::state_dict
