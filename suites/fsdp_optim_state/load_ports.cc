// Optimizer state of one model loaded into another: full on every rank, full on rank 0, sharded, and with original
// parameters.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/load_optim_state.h"
#include "suites/fsdp_optim_state/ports.h"

namespace shardcts::fsdp_optim_state {
namespace {

bool IsLegacy(const Trial& t) { return t.TextParam("api") == "legacy"; }

// The full forms: part A with the deprecated functions has the checks C1 to C24, part B C25 to C48.
void LoadFull(Trial& t, const LoadCase& legacy, const LoadCase& current, bool scatter) {
  if (IsLegacy(t)) {
    const LegacyFunctions functions = scatter ? LegacyFunctions::kScatterFull : LegacyFunctions::kShardFull;
    LoadWithLegacyFunctions(t, 1, legacy, functions, t.BoolParam("use_optim_input"));
  } else {
    LoadWithOptimStateDict(t, 1 + kLoadChecks, current, StateDictKind::kFull, /*rank0_only=*/scatter);
  }
}

void LoadSharded(Trial& t, const LoadCase& load_case) {
  if (IsLegacy(t)) {
    LoadWithLegacyFunctions(t, 1, load_case, LegacyFunctions::kFlattenSharded, /*use_optim_input=*/false);
  } else {
    LoadWithOptimStateDict(t, 1 + kLoadChecks, load_case, StateDictKind::kSharded, /*rank0_only=*/false);
  }
}

LoadCase CaseOfParameters(const Trial& t) {
  return {.multiple_groups = t.BoolParam("use_multiple_param_groups"),
          .wrap_alt = t.BoolParam("wrap_alt"),
          .diff_optim_inputs = t.BoolParam("use_diff_optim_inputs")};
}

constexpr LoadCase kNestedHalved{
    .multiple_groups = true, .halve_world_size = true, .wrap_alt = true, .diff_optim_inputs = true};
constexpr LoadCase kTransformerHalved{.kind = ModelKind::kTransformer, .halve_world_size = true};

}  // namespace

PORT(test_shard_full_optim_state_dict_nested) {
  const LoadCase legacy = CaseOfParameters(t);
  LoadCase current = legacy;
  current.multiple_groups = false;  // upstream passes False here, whatever the instance says
  LoadFull(t, legacy, current, /*scatter=*/false);
}
PORT(test_shard_full_optim_state_dict_nested_halve_world_size) {
  LoadFull(t, kNestedHalved, kNestedHalved, /*scatter=*/false);
}
PORT(test_shard_full_optim_state_dict_transformer) {
  LoadFull(t, kTransformerHalved, kTransformerHalved, /*scatter=*/false);
}

PORT(test_scatter_full_optim_state_dict_nested) {
  const LoadCase load_case = CaseOfParameters(t);
  LoadFull(t, load_case, load_case, /*scatter=*/true);
}
PORT(test_scatter_full_optim_state_dict_nested_halve_world_size) {
  LoadFull(t, kNestedHalved, kNestedHalved, /*scatter=*/true);
}
PORT(test_scatter_full_optim_state_dict_transformer) {
  LoadFull(t, kTransformerHalved, kTransformerHalved, /*scatter=*/true);
}

PORT(test_flatten_sharded_optim_state_dict_nested) { LoadSharded(t, {.wrap_alt = true}); }
PORT(test_flatten_sharded_optim_state_dict_transformer) { LoadSharded(t, {.kind = ModelKind::kTransformer}); }

PORT(test_use_orig_params) {
  const std::string settings = t.TextParam("settings");
  LoadCase load_case{.wrap_alt = t.BoolParam("wrap_alt"), .use_orig_params = true};
  if (settings == "sharded") {
    LoadWithOptimStateDict(t, 1 + 2 * kLoadChecks, load_case, StateDictKind::kSharded, /*rank0_only=*/false);
    return;
  }
  load_case.halve_world_size = t.BoolParam("halve_world_size");
  const bool rank0_only = settings == "full_rank0_only";
  LoadWithOptimStateDict(t, rank0_only ? 1 + kLoadChecks : 1, load_case, StateDictKind::kFull, rank0_only);
}

}  // namespace shardcts::fsdp_optim_state
