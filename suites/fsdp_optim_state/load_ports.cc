// Optimizer state of one model loaded into another: full on every rank, full on rank 0, sharded, and with original
// parameters.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/load_optim_state.h"
#include "suites/fsdp_optim_state/ports.h"

namespace shardcts::fsdp_optim_state {
namespace {

// Upstream runs its procedure two or three times in a test.
constexpr LoadChecks kFirstRun{
    .second_groups = {.other = "C1", .own = "C2", .any = "C3", .entries = "C4", .values = "C5"},
    .second_state = {.other = "C6", .own = "C7", .keys = "C8", .names = "C9", .values = "C10", .dtypes = "C11"},
    .first_groups = {.other = "C12", .own = "C13", .any = "C14", .entries = "C15", .values = "C16"},
    .first_state = {.other = "C17", .own = "C18", .keys = "C19", .names = "C20", .values = "C21", .dtypes = "C22"},
    .load = "C23",
    .train = "C24"};
constexpr LoadChecks kSecondRun{
    .second_groups = {.other = "C25", .own = "C26", .any = "C27", .entries = "C28", .values = "C29"},
    .second_state = {.other = "C30", .own = "C31", .keys = "C32", .names = "C33", .values = "C34", .dtypes = "C35"},
    .first_groups = {.other = "C36", .own = "C37", .any = "C38", .entries = "C39", .values = "C40"},
    .first_state = {.other = "C41", .own = "C42", .keys = "C43", .names = "C44", .values = "C45", .dtypes = "C46"},
    .load = "C47",
    .train = "C48"};
constexpr LoadChecks kThirdRun{
    .second_groups = {.other = "C49", .own = "C50", .any = "C51", .entries = "C52", .values = "C53"},
    .second_state = {.other = "C54", .own = "C55", .keys = "C56", .names = "C57", .values = "C58", .dtypes = "C59"},
    .first_groups = {.other = "C60", .own = "C61", .any = "C62", .entries = "C63", .values = "C64"},
    .first_state = {.other = "C65", .own = "C66", .keys = "C67", .names = "C68", .values = "C69", .dtypes = "C70"},
    .load = "C71",
    .train = "C72"};

bool IsLegacy(const Trial& t) { return t.TextParam("api") == "legacy"; }

// The full forms: part A with the deprecated functions, part B with the current ones.
void LoadFull(Trial& t, const LoadCase& legacy, const LoadCase& current, bool scatter) {
  if (IsLegacy(t)) {
    const LegacyFunctions functions = scatter ? LegacyFunctions::kScatterFull : LegacyFunctions::kShardFull;
    LoadWithLegacyFunctions(t, kFirstRun, legacy, functions, t.BoolParam("use_optim_input"));
  } else {
    LoadWithOptimStateDict(t, kSecondRun, current, StateDictKind::kFull, /*rank0_only=*/scatter);
  }
}

void LoadSharded(Trial& t, const LoadCase& load_case) {
  if (IsLegacy(t)) {
    LoadWithLegacyFunctions(t, kFirstRun, load_case, LegacyFunctions::kFlattenSharded, /*use_optim_input=*/false);
  } else {
    LoadWithOptimStateDict(t, kSecondRun, load_case, StateDictKind::kSharded, /*rank0_only=*/false);
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
    LoadWithOptimStateDict(t, kThirdRun, load_case, StateDictKind::kSharded, /*rank0_only=*/false);
    return;
  }
  load_case.halve_world_size = t.BoolParam("halve_world_size");
  const bool rank0_only = settings == "full_rank0_only";
  LoadWithOptimStateDict(t, rank0_only ? kSecondRun : kFirstRun, load_case, StateDictKind::kFull, rank0_only);
}

}  // namespace shardcts::fsdp_optim_state
