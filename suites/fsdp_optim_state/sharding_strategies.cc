// Units that are not sharded, and parameters that are frozen temporarily.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

const std::vector<std::string> kFrozen = {"net1.0.weight", "net1.0.bias"};
constexpr int kFreezingIterations = 5;

Optimizer AdamOver(Trial& t, const Model& model) {
  return t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
}

void WrapWithOriginalParameters(Model& model) {
  FsdpOptions options;
  options.use_orig_params = true;
  WrapFsdp(model, "", options);
}

// Upstream's iterations: two parameters are frozen in every other one; gradients are never dropped.
void SaveAndLoadWhileFrozen(Trial& t, Model model) {
  WrapWithOriginalParameters(model);
  Optimizer optimizer = AdamOver(t, model);
  for (int i = 0; i < kFreezingIterations; ++i) {
    model.SetRequiresGrad(kFrozen, i % 2 == 1);
    StepOnSum(model, optimizer, UniformInput(t, {8, 8}, i));
    const Dict original = Cloned(t, optimizer.StateDict());
    t.NoError("C1", [&] {
      OptimStateDict(model, optimizer);
      OptimStateDictToLoad(model, optimizer, OptimStateDict(model, optimizer), {.load_directly = true});
    });
    ExpectSameState(t,
                    {.other = "C2", .own = "C3", .keys = "C4", .names = "C5", .values = "C6", .dtypes = "C7"},
                    optimizer.StateDict(), original);
  }
}

// The strict form of the values. Gradients are dropped before each iteration, because an unsharded optimizer steps
// every parameter that has one, frozen or not.
void SaveBesideTwin(Trial& t, Model model, Model twin) {
  WrapWithOriginalParameters(model);
  Optimizer optimizer = AdamOver(t, model);
  Optimizer twin_optimizer = AdamOver(t, twin);
  const auto step = [&](Model& which, Optimizer& its_optimizer, int i) {
    which.SetRequiresGrad(kFrozen, i % 2 == 1);
    which.ZeroGrad();
    StepOnSum(which, its_optimizer, UniformInput(t, {8, 8}, i));
  };
  for (int i = 0; i < kFreezingIterations; ++i) {
    step(model, optimizer, i);
    step(twin, twin_optimizer, i);
    const Dict expected = StateByName(t, twin_optimizer, AllParameters(twin));
    ExpectStateOfTwin(t, "C6", expected, OptimStateDict(model, optimizer));
  }
}

}  // namespace

PORT(test_with_no_shard) {
  Model plain = t.subject().Build("four_nets", {}, t.device());
  Model model = plain.Copy();
  FsdpOptions options;
  options.sharding_strategy = "NO_SHARD";
  options.use_orig_params = t.BoolParam("use_orig_params");
  WrapFsdp(model, "", options);
  Optimizer optimizer = AdamOver(t, model);
  Optimizer plain_optimizer = AdamOver(t, plain);
  StepOnOutput(model, optimizer, UniformInput(t, {8, 8}));
  StepOnOutput(plain, plain_optimizer, UniformInput(t, {8, 8}));

  const Dict original = Cloned(t, optimizer.StateDict());
  const Dict saved = OptimStateDict(model, optimizer);
  ExpectStateOfTwin(t, "C2", StateByName(t, plain_optimizer, AllParameters(plain)), saved);
  t.NoError("C1", [&] { optimizer.LoadStateDict(OptimStateDictToLoad(model, optimizer, saved)); });
  ExpectEqualDicts(t, "C2", original, optimizer.StateDict());
}

PORT(test_no_grad) {
  Model plain = t.subject().Build("four_nets", {}, t.device());
  plain.SetRequiresGrad(kFrozen, false);
  SaveAndLoadWhileFrozen(t, plain.Copy());
  SaveBesideTwin(t, plain.Copy(), plain);
}

}  // namespace shardcts::fsdp_optim_state
