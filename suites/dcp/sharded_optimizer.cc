// The port of test_fsdp_optim_state.py.
#include <ATen/ATen.h>

#include "contract/fsdp_optim.h"
#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"

namespace shardcts::dcp {
namespace {

// Three Linear with ReLU, whose outputs are one, two and three times the number of ranks, wrapped in FSDP1.
Model ShardedModel(Trial& t, int64_t seed) {
  const int64_t ranks = t.world_size();
  Model model = BuildLayers(t, {.in = 8, .out = {{"net1", ranks}, {"net2", 2 * ranks}, {"net3", 3 * ranks}}}, seed);
  WrapFsdp(model, "");
  return model;
}

Optimizer AdamFor(Trial& t, const Model& model) { return t.subject().CreateOptimizer(model, "adam", {.lr = 0.1}); }

}  // namespace

PORT(test_load_sharded_optimizer_state_dict) {
  Model model = ShardedModel(t, 1);
  Optimizer optimizer = AdamFor(t, model);
  model.Backward(model.Forward({Uniform({8, 8})}));
  optimizer.Step();
  SetStateDictType(model, StateDictKind::kSharded);
  const Dict saved = t.subject().Clone(OptimStateDict(model, optimizer)).AsDict();
  SaveCheckpoint(t.caller(), {{"model", model.StateDict()}, {"optim", saved}}, "checkpoint");

  Model other = ShardedModel(t, 2);
  Optimizer loaded = AdamFor(t, other);
  SetStateDictType(other, StateDictKind::kSharded);
  t.Check("C1", Equal<size_t>("states before the load", 0, loaded.StateDict().At("state").AsDict().size()));
  const Dict model_state =
      LoadCheckpoint(t.caller(), {{"model", other.StateDict()}}, "checkpoint").At("model").AsDict();
  other.LoadStateDict(model_state);
  const Dict state = LoadOptimizerCheckpoint(t.caller(), model_state, "optim", "checkpoint").At("optim").AsDict();
  loaded.LoadStateDict(OptimStateDictToLoad(other, loaded, state));

  const Dict &before = saved.At("state").AsDict(), after = OptimStateDict(other, loaded).At("state").AsDict();
  t.Check("C2", Equal("parameters with state", before.size(), after.size()));
  for (const auto& [name, states] : before) {
    for (const auto& [key, value] : states.AsDict()) {
      const std::string what = ToString(name) + ": " + ToString(key);
      const Value* found = after.Find(name) ? after.At(name).AsDict().Find(key) : nullptr;
      if (!found) {
        t.Fail(what + ": is missing after the load");
        continue;
      }
      const bool is_sharded = value.TryAs<ShardedTensor>() != nullptr;
      if (is_sharded) t.Check("C3", Holds(found->TryAs<ShardedTensor>() != nullptr, what, "is no ShardedTensor"));
      t.Check(is_sharded ? "C4" : "C5", SameValue(what, value, *found, {.dtype_default_tolerance = true}));
      if (is_sharded) t.Strict("C4", SameValue(what + ", bit for bit", value, *found));
    }
  }
  t.Strict("C1", SameValue("the model", model.StateDict(), other.StateDict()));
}

}  // namespace shardcts::dcp
