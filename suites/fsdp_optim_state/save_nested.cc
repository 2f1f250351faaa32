// Saving: beside an unsharded twin, under clean names, and with state that some ranks lack.
#include <ATen/ATen.h>

#include <algorithm>

#include "rank/whole.h"
#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

// Upstream's _are_equal_states: the same names and types, tensors close with isclose's defaults.
bool Matches(const Dict& entry, const Dict& other) {
  constexpr CompareOptions kIsClose{.tolerance = {.rtol = 1e-5, .atol = 1e-8}};
  if (entry.size() != other.size()) return false;
  return std::ranges::all_of(entry, [&](const Dict::Entry& state) {
    const Value* found = other.Find(state.key);
    return found && SameValue("", *found, state.value, kIsClose).ok;
  });
}

// Upstream's _check_same_state without equal keys: four checks from C8 on; strict: paired by name.
void CompareStatesInAnyOrder(Trial& t, const Dict& saved, const Dict& reference, const Dict& reference_by_name) {
  t.Check("C8", Holds(reference.Contains("state"), "unsharded state dict", "expected a member state"));
  if (!t.Check("C9", Holds(saved.Contains("state"), "saved state dict", "expected a member state"))) return;
  const Dict whole = WholeDict(t, saved);
  const Dict& state = StateOf(whole);
  const Dict& others = StateOf(reference);
  t.Check("C10", Equal("parameters with state", others.size(), state.size()));
  for (const auto& [name, entry] : state) {
    const bool found = std::ranges::any_of(
        others, [&](const Dict::Entry& other) { return Matches(entry.AsDict(), other.value.AsDict()); });
    t.Check("C11", Holds(found, ToString(name), "no parameter of the unsharded model has such state"));
  }
  ExpectStateOfTwin(t, "C11", reference_by_name, whole);
}

}  // namespace

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
    CompareStatesInAnyOrder(t, saved, reference, by_name);
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
