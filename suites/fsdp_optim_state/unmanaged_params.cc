// A parameter that the saved model did not have.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

Dict Convert(Trial& t, const Dict& saved, const Model& model, const Optimizer& optimizer) {
  if (t.TextParam("state_dict_type") == "SHARDED") return FlattenShardedOptimStateDict(saved, model, optimizer);
  if (!t.BoolParam("use_optim_input")) return ShardFullOptimStateDict(saved, model, {.optimizer = &optimizer});
  return ShardFullOptimStateDict(saved, model, {.optim_input = OptimInput(model.Parameters().Keys())});
}

// Upstream's add_unmanaged_param_entry: the first id that is missing in `params` gets it and a state.
int64_t AddEntry(Trial& t, Dict& converted) {
  Dict group = FirstGroupOf(converted);
  std::vector<int64_t> ids = group.At("params").AsInts();
  if (ids.empty()) throw ContractViolation("params of the group: expected ids, there are none");
  auto gap = ids.end();
  for (auto next = ids.begin() + 1; next != ids.end(); ++next) {
    const int64_t step = *next - *(next - 1);
    if (step == 1) continue;
    t.Check("C3", Holds(step > 1, "ids of the group", "expected them to increase, one does not"));
    if (gap == ids.end()) gap = next;
  }
  const int64_t id = gap == ids.end() ? static_cast<int64_t>(ids.size()) : *(gap - 1) + 1;
  t.Check("C4", Holds(id >= 0, "free id", "is negative"));
  ids.insert(gap, id);
  group.Set("params", ToValue(ids));
  converted.Set("param_groups", List{group});
  Dict state = StateOf(converted);
  state.Set(id, Dict{{"step", at::ones({})},
                     {"exp_avg", NormalInput(t, {5, 5}, 1)},
                     {"exp_avg_sq", NormalInput(t, {5, 5}, 2)}});
  converted.Set("state", state);
  return id;
}

}  // namespace

PORT(test_shard_full_optim_state_dict_unmanaged_params) {
  const bool in_unit = t.BoolParam("add_to_fsdp_module");
  Training training = NewTraining(t, {});
  Train(t, training, 1);
  const Dict saved = SaveWithLegacyFunction(t, training, /*rank0_only=*/false);

  const Model model = NestedModel(t, {}, {{"unmanaged_param", in_unit ? "block2.2" : "root"}});
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-3});
  if (in_unit) {
    t.Raises("C1", "ValueError",
             "All unflattened parameters comprising a single flat parameter must have scalar state with the same value "
             "and dtype",
             [&] { Convert(t, saved, model, optimizer); });
    return;
  }
  Dict converted;
  t.NoError("C2", [&] { converted = Convert(t, saved, model, optimizer); });
  const std::vector<std::string> names = model.Parameters().Keys();
  std::vector<std::string> expected;
  for (size_t id = 0; id < names.size(); ++id) {
    if (names[id] != "unmanaged_param") expected.push_back(std::to_string(id));
  }
  t.Strict("C2", SameNameSet("ids with state", expected, StateOf(converted).Keys()));
  const int64_t id = AddEntry(t, converted);
  const std::string named = id >= 0 && id < std::ssize(names) ? names[id] : "none with id " + std::to_string(id);
  t.Strict("C4", Equal("parameter of the free id", std::string("unmanaged_param"), named));
  t.NoError("C5", [&] { optimizer.LoadStateDict(converted); });
  ExpectEqualDictsStrictly(t, "C5", converted, optimizer.StateDict());
}

}  // namespace shardcts::fsdp_optim_state
