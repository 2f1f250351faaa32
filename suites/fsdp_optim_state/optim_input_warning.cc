// Passing optim_input gives a warning that it is deprecated.
#include <ATen/ATen.h>

#include <algorithm>

#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

constexpr int kWarmUpIterations = 2;
constexpr std::string_view kText = "`optim_input` argument is deprecated";

Verification Warns(const char* what, const std::vector<Warning>& warnings) {
  const bool told = std::ranges::any_of(warnings, [](const Warning& warning) {
    return warning.category == "FutureWarning" && warning.message.find(kText) != std::string::npos;
  });
  return Holds(told, what, fmt::format("expected a FutureWarning with \"{}\", none of {} says it", kText, warnings.size()));
}

}  // namespace

PORT(test_optim_input_warning) {
  Training sharded = NewTraining(t, {});
  Train(t, sharded, kWarmUpIterations);
  Training plain = NewTraining(t, {.wrap = false});
  std::vector<Warning> saving, sharding, scattering, to_ids, to_names;
  t.NoError("C6", [&] {
    const Dict saved = FullOptimStateDict(
        sharded.model, sharded.optimizer,
        {.optim_input = sharded.optim_input, .rank0_only = false, .warnings = &saving});
    ShardFullOptimStateDict(saved, sharded.model, {.optim_input = sharded.optim_input, .warnings = &sharding});
    ScatterFullOptimStateDict(saved, sharded.model, {.optim_input = sharded.optim_input, .warnings = &scattering});
    RekeyOptimStateDict(saved, OptimStateKeyType::kParamId, plain.model,
                        {.optim_input = plain.optim_input, .warnings = &to_ids});
    Train(t, plain, kWarmUpIterations);
    RekeyOptimStateDict(plain.optimizer.StateDict(), OptimStateKeyType::kParamName, plain.model,
                        {.optim_input = plain.optim_input, .warnings = &to_names});
  });
  t.Check("C1", Warns("full_optim_state_dict", saving));
  t.Check("C2", Warns("shard_full_optim_state_dict", sharding));
  t.Check("C3", Warns("scatter_full_optim_state_dict", scattering));
  t.Check("C4", Warns("rekey_optim_state_dict to ids", to_ids));
  t.Check("C5", Warns("rekey_optim_state_dict to names", to_names));
}

}  // namespace shardcts::fsdp_optim_state
