// An optimizer keyed by names, over a model of which each rank has a different part.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

Model PartlyReplicatedModel(Trial& t, bool wrap) {
  const char* sparse = t.rank() == 0 ? "sparse0" : "sparse1";
  Model model = t.subject().Build("partly_replicated", {{"sparse", sparse}, {"ranks", t.world_size()}}, t.device());
  if (!wrap) return model;
  FsdpOptions options;
  options.use_orig_params = true;
  WrapFsdp(model, "dense", options);
  return model;
}

// State is made first, with zero gradients, for all parameters; then one real step.
void InitAndStep(Model& model, Optimizer& optimizer, const at::Tensor& batch) {
  optimizer.InitState();
  StepOnSum(model, optimizer, batch);
}

// Strict: compared with the reference model.
void Compare(Trial& t, const GroupChecks& groups, const StateChecks& state, const Dict& actual, const Dict& expected,
             const Dict& twin_state) {
  ExpectSameGroups(t, groups, actual, expected, /*with_params=*/false);
  ExpectSameState(t, state, actual, expected);
  ExpectStateOfTwin(t, state.values, twin_state, actual);
  ExpectStateOfTwin(t, state.values, twin_state, expected);
}

}  // namespace

PORT(test_compatible_with_trec) {
  Model model = PartlyReplicatedModel(t, true);
  Model named_model = PartlyReplicatedModel(t, true);
  Model plain = PartlyReplicatedModel(t, false);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  Optimizer named =
      t.subject().CreateOptimizer(named_model, "adam", {.lr = 1e-2}, AllParameters(named_model), /*named=*/true);
  Optimizer plain_optimizer = t.subject().CreateOptimizer(plain, "adam", {.lr = 1e-2});

  const at::Tensor batch = UniformInput(t, {5, 8});
  InitAndStep(model, optimizer, batch);
  const Dict saved = Cloned(t, OptimStateDict(model, optimizer));
  InitAndStep(named_model, named, batch);
  Dict saved_named = Cloned(t, OptimStateDict(named_model, named));
  InitAndStep(plain, plain_optimizer, batch);
  const Dict twin_state = StateByName(t, plain_optimizer, AllParameters(plain));
  Compare(t, {.other = "C1", .own = "C2", .any = "C3", .entries = "C4", .values = "C5"},
          {.other = "C6", .own = "C7", .keys = "C8", .names = "C9", .values = "C10", .dtypes = "C11"},
          saved, saved_named, twin_state);

  for (int i = 1; i <= 5; ++i) StepOnSum(named_model, named, UniformInput(t, {5, 8}, i));
  t.NoError("C12", [&] {
    named.LoadStateDict(OptimStateDictToLoad(named_model, named, saved_named, {.is_named_optimizer = true}));
  });
  saved_named = OptimStateDict(named_model, named);
  Compare(t, {.other = "C13", .own = "C14", .any = "C15", .entries = "C16", .values = "C17"},
          {.other = "C18", .own = "C19", .keys = "C20", .names = "C21", .values = "C22", .dtypes = "C23"},
          saved, saved_named, twin_state);
}

}  // namespace shardcts::fsdp_optim_state
