// Gradients: of which loss they are, and that none is left once they are dropped.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "suites/extended/comparison.h"
#include "suites/extended/rule.h"
#include "suites/extended/tiling.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {

// The mean over 8 outputs: rank r, whose two inputs are r + 1, adds 2 (r + 1) / 8 to each gradient before the average.
RULE(TR25) {
  const ModelSpec spec{.name = "linear", .args = {{"in", 3}, {"out", 4}, {"bias", false}}};
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const at::Tensor input = at::full({2, 3}, 1.0 + static_cast<double>(t.rank()));
  model.Backward(model.Forward({Value(input.to(c10::Device(t.device())))}), "mean");
  const double expected = (1.0 + static_cast<double>(t.world_size())) / 2 / 4;
  for (const auto& [name, value] : model.Gradients()) {
    if (t.Rule(Holds(!value.IsNone(), ToString(name), "has no gradient"))) {
      t.Rule(AllElementsAre("gradient of " + ToString(name), expected, value));
    }
  }
}

RULE(TR26) {
  const std::string wrapper = t.TextParam("wrapper"), whose = t.TextParam("dropped_by");
  const bool offload = t.BoolParam("offload");
  const auto build = [&] {
    if (!offload) return BuildTrained(t, TrainedStack(), wrapper);
    Model model = BuildTrained(t, TrainedStack(), "plain");
    FsdpOptions options = FsdpOptionsOf(t, wrapper);
    options.cpu_offload = true;
    WrapFsdp(model, "", options);
    return model;
  };
  Model model = build(), other = build();
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  const BatchPart part = PartOf(t, wrapper);
  Accumulate(t, model, 0, part);
  whose == "model" ? model.ZeroGrad() : optimizer.ZeroGrad();
  for (const auto& [name, value] : model.Gradients()) {
    t.Rule(Holds(value.IsNone(), ToString(name), "has a gradient after it was dropped"));
  }
  Accumulate(t, model, 1, part);
  Accumulate(t, other, 1, part);
  t.Rule(SameValue("gradients of the next backward", other.Gradients(), model.Gradients()));
}

RULE(TR27) {
  const std::string wrapper = t.TextParam("wrapper"), frozen = "0.weight";
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Accumulate(t, model, 0, PartOf(t, wrapper));
  const Dict before = t.subject().Clone(model.Gradients()).AsDict();
  model.SetRequiresGrad({frozen}, false);
  Accumulate(t, model, 1, PartOf(t, wrapper));
  t.Rule(SameValue("the gradient of what is frozen", before.At(frozen), model.Gradients().At(frozen)));
}

RULE(TR28) {
  Model model = BuildTrained(t, TrainedStack(), "fsdp_orig");
  Accumulate(t, model, 0, PartOf(t, "fsdp_orig"));
  const Dict before = t.subject().Clone(model.Gradients()).AsDict();
  WithFullParams(model, [] {}, {.writeback = t.BoolParam("writeback"), .with_grads = true});
  t.Rule(SameValue("gradients after the scope", before, model.Gradients()));
}

}  // namespace shardcts::extended
