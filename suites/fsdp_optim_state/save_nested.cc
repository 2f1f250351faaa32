// Saving: compared with an unsharded reference model, under clean names, and with state that some ranks lack.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {

PORT(test_optim_state_dict_nested) {
  TrainingOptions options{.multiple_groups = t.BoolParam("use_multiple_param_groups"),
                          .diff_optim_inputs = t.BoolParam("use_diff_optim_inputs")};
  Training sharded = NewTraining(t, options);
  const std::vector<double> losses = Train(t, sharded, kIterations);
  Dict saved;
  t.NoError("C12", [&] { saved = SaveWithLegacyFunction(t, sharded, t.BoolParam("rank0_only")); });

  const auto compare = [&] {
    options.wrap = false;
    Training plain = NewTraining(t, options);
    t.Check("C2", SameLosses(Train(t, plain, kIterations), losses));
    const Dict reference = plain.optimizer.StateDict();
    ExpectSameGroups(t, {.other = "C3", .own = "C4", .any = "C5", .entries = "C6", .values = "C7"},
                     saved, reference, /*with_params=*/false);
    const Dict by_name = StateByName(t, plain.optimizer, plain.groups);
    ExpectStatesInAnyOrder(t, {.other = "C8", .own = "C9", .count = "C10", .states = "C11"}, saved, reference, by_name);
  };
  if (!t.BoolParam("rank0_only")) return compare();
  if (t.rank() != 0) t.Check("C1", SameNames("members of the state dict on this rank", {}, saved.Keys()));
  t.Among({0}, compare);
}

PORT(test_full_optim_state_dict_keys) {
  Dict saved, parameters;
  t.NoError("C3", [&] {
    Model model = NestedModel(t, {}, {}, {"block2.2.bias_module0"});
    WrapCheckpoint(model, "block2");
    const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-3});
    Training training{ModelKind::kNested, model, optimizer, {}, {}};
    Train(t, training, 1);
    saved = FullOptimStateDict(model, optimizer, {.rank0_only = false});
    WithStateDictType(model, StateDictKind::kFull, [&] { parameters = model.StateDict(); });
  });
  const std::vector<std::string> names = StateOf(saved).Keys();
  t.Check("C1", SameNameSet("parameters with state", parameters.Keys(), names));
  for (const std::string& name : names) {
    t.Check("C2", Holds(name.find("_checkpoint_wrapped_module") == std::string::npos, name, "shows a wrapper"));
  }
}

PORT(test_full_optim_state_dict_nested_invalid) {
  Model model = NestedModel(t, {});
  std::optional<Optimizer> optimizer;
  t.NoError("C2", [&] {
    std::vector<ParameterGroup> groups = AllParameters(model);
    if (t.rank() != 0) groups.front().parameters.pop_back();
    optimizer.emplace(t.subject().CreateOptimizer(model, "adam", {.lr = 1e-3}, groups));
    Training training{ModelKind::kNested, model, *optimizer, groups, {}};
    Train(t, training, kIterations);
  });
  t.Raises("C1", "RuntimeError",
           "FSDP currently requires each rank to have at least the optimizer states needed by rank 0's optimizer but "
           "some ranks are missing some of those states",
           [&] { FullOptimStateDict(model, *optimizer); });
}

}  // namespace shardcts::fsdp_optim_state
