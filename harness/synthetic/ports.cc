#include <ATen/ATen.h>

#include "rank/trial.h"
#include "synthetic/synthetic_suite.h"

namespace shardcts {

std::vector<Suite> AllPorts() {
  return {{"synthetic", {{"test_empty", &synthetic::test_empty}, {"test_walk", &synthetic::test_walk}}}};
}

namespace synthetic {
namespace {

bool IsFinite(const Value& value) { return LocalPart(value).isfinite().all().item<bool>(); }

}  // namespace

PORT(test_empty) {}

PORT(test_walk) {
  const int64_t walk = t.IntParam("walk");
  const int64_t dim = 2 + walk % 4;
  t.subject().Seed(walk);
  Model model = t.subject().Build("linear", {{"in", dim}, {"out", dim}, {"bias", false}});
  model.FullyShard("", {.reshard_after_forward = walk % 2 == 0});
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 1e-3});
  const auto weight = [&] { return t.subject().FullTensor(model.StateDict().At("weight")); };
  for (int64_t step = 0; step < 2 + walk % 3; ++step) {
    const Value output = model.Forward({at::ones({dim, dim})});
    if (IsFinite(output)) {
      model.Backward(output);
      optimizer.Step();
      optimizer.ZeroGrad();
    }
    if (!IsFinite(weight())) model.BroadcastParameters(0);
  }
  t.Check("C1", Holds(IsFinite(weight()), "weight", "is finite"));
}

}  // namespace synthetic
}  // namespace shardcts
