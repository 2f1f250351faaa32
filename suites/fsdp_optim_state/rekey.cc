// Ids for names and names for ids, between a sharded model and an unsharded one.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

// C1 to C11.
void CompareWithOptimizer(Trial& t, const Training& training, const Dict& converted) {
  const Dict local = training.optimizer.StateDict();
  ExpectSameGroups(t, {.other = "C1", .own = "C2", .any = "C3", .entries = "C4", .values = "C5"},
                   converted, local);
  ExpectSameState(t,
                  {.other = "C6", .own = "C7", .keys = "C8", .names = "C9", .values = "C10", .dtypes = "C11"},
                  converted, local);
}

// C12 and C13.
void LoadAndTrain(Trial& t, Training& training, const Dict& converted) {
  t.NoError("C12", [&] { training.optimizer.LoadStateDict(converted); });
  ExpectEqualDictsStrictly(t, "C12", converted, training.optimizer.StateDict());
  t.NoError("C13", [&] { Train(t, training, kIterations); });
}

Dict SaveForAll(Trial& t, const Training& training, bool use_optim_input) {
  FullOptimOptions options;
  if (use_optim_input) options.optim_input = training.optim_input;
  const Value saved = t.FromRank0(FullOptimStateDict(training.model, training.optimizer, options));
  return saved.AsDict();
}

}  // namespace

PORT(test_rekey_optim_state_dict_to_ids) {
  const bool use_optim_input = t.BoolParam("use_optim_input");
  const bool full = t.TextParam("state_dict_type") == "FULL";
  TrainingOptions options{.multiple_groups = t.BoolParam("use_multiple_param_groups")};
  Training sharded = NewTraining(t, options);
  Train(t, sharded, kIterations);
  const Dict saved = full ? SaveForAll(t, sharded, use_optim_input)
                          : ShardedOptimStateDict(sharded.model, sharded.optimizer);
  options.wrap = false;
  Training plain = NewTraining(t, options);
  Train(t, plain, kIterations);
  const Dict rekeyed =
      RekeyOptimStateDict(saved, OptimStateKeyType::kParamId, plain.model, LayoutOf(plain, use_optim_input));
  CompareWithOptimizer(t, plain, rekeyed);
  if (full) LoadAndTrain(t, plain, rekeyed);
}

PORT(test_rekey_optim_state_dict_to_names) {
  const bool use_optim_input = t.BoolParam("use_optim_input");
  Training sharded = NewTraining(t, {});
  Train(t, sharded, kIterations);
  Training plain = NewTraining(t, {.wrap = false});
  Train(t, plain, kIterations);
  const Dict rekeyed = RekeyOptimStateDict(plain.optimizer.StateDict(), OptimStateKeyType::kParamName, plain.model,
                                           LayoutOf(plain, use_optim_input));
  const Dict converted = ShardFullOptimStateDict(rekeyed, sharded.model, LayoutOf(sharded, use_optim_input));
  CompareWithOptimizer(t, sharded, converted);
  LoadAndTrain(t, sharded, converted);
}

}  // namespace shardcts::fsdp_optim_state
