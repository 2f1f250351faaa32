// Units that are not sharded, and parameters that are frozen for a while.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

const std::vector<std::string> kFrozen = {"net1.0.weight", "net1.0.bias"};
constexpr int kIterations = 5;

Dict Cloned(Trial& t, const Dict& state_dict) {
  const Value copy = t.subject().Clone(state_dict);
  return copy.AsDict();
}

}  // namespace

PORT(test_with_no_shard) {
  Model plain = t.subject().Build("four_nets", {}, t.device());
  Model model = plain.Copy();
  FsdpOptions options;
  options.sharding_strategy = "NO_SHARD";
  options.use_orig_params = t.BoolParam("use_orig_params");
  WrapFsdp(model, "", options);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  Optimizer plain_optimizer = t.subject().CreateOptimizer(plain, "adam", {.lr = 1e-2});
  StepOnOutput(model, optimizer, UniformInput(t, {8, 8}));
  StepOnOutput(plain, plain_optimizer, UniformInput(t, {8, 8}));

  const Dict original = Cloned(t, optimizer.StateDict());
  const Dict saved = OptimStateDict(model, optimizer);
  ExpectStateOfTwin(t, model.caller(), "C2", StateByName(t, plain_optimizer, AllParameters(plain)), saved);
  t.NoError("C1", [&] { optimizer.LoadStateDict(OptimStateDictToLoad(model, optimizer, saved)); });
  ExpectEqualDicts(t, "C2", original, optimizer.StateDict());
}

PORT(test_no_grad) {
  Model plain = t.subject().Build("four_nets", {}, t.device());
  plain.SetRequiresGrad(kFrozen, false);
  Model model = plain.Copy();
  FsdpOptions options;
  options.use_orig_params = true;
  WrapFsdp(model, "", options);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  Optimizer plain_optimizer = t.subject().CreateOptimizer(plain, "adam", {.lr = 1e-2});
  for (int i = 0; i < kIterations; ++i) {
    const at::Tensor batch = UniformInput(t, {8, 8}, i);
    for (auto [which, its_optimizer] : {std::pair{&model, &optimizer}, {&plain, &plain_optimizer}}) {
      which->SetRequiresGrad(kFrozen, i % 2 == 1);
      StepOnSum(*which, *its_optimizer, batch);
    }
    const Dict original = Cloned(t, optimizer.StateDict());
    t.NoError("C1", [&] {
      const Dict saved = OptimStateDict(model, optimizer);
      ExpectStateOfTwin(t, model.caller(), "C6", StateByName(t, plain_optimizer, AllParameters(plain)), saved);
      OptimStateDictToLoad(model, optimizer, OptimStateDict(model, optimizer), {.load_directly = true});
    });
    ExpectSameState(t, model.caller(), 2, optimizer.StateDict(), original);
  }
}

}  // namespace shardcts::fsdp_optim_state
