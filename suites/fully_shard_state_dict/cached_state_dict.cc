#include <ATen/ATen.h>

#include "rank/trial.h"
#include "suites/fully_shard_state_dict/ports.h"

namespace shardcts::fully_shard_state_dict {
namespace {

// Moves all parameters to new storage: through another device if there is one, otherwise by the same code of the
// implementation.
void MoveStorage(Trial& t, Model& model) {
  if (t.device() == "cpu") {
    model.Reallocate();
  } else {
    model.To("cpu");
    model.To(t.device());
  }
}

// A shard without elements may have no memory, which then cannot move.
bool HasMemory(const Value& weight) {
  return weight.AsDTensor().local.storage().nbytes() > 0;
}

}  // namespace

// A state dict taken before any forward stays valid: the first forward must not move a shard to other storage.
PORT(test_cached_state_dict) {
  const int64_t dim = t.IntParam("mlp_dim");
  const bool mutate = t.BoolParam("mutate_after_state_dict");
  t.subject().Seed(42);
  Model model = t.subject().Build("linear", {{"in", dim}, {"out", dim}, {"bias", false}});
  model.FullyShard("", {.reshard_after_forward = true});
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adamw", {.lr = 1e-2});

  const auto weight = [&] { return model.Parameters().At("weight"); };
  const Value saved = model.StateDict().At("weight");
  t.Check("C1", IsDTensor("weight", weight()));
  if (mutate) {
    MoveStorage(t, model);
    const bool moved = StoragePointer(saved) != StoragePointer(weight());
    t.Check("C3", Holds(moved || !HasMemory(weight()), "weight", "the storage has not moved"));
  } else {
    t.Check("C2", Equal("weight: storage before training", StoragePointer(saved), StoragePointer(weight())));
  }

  const at::Tensor input = at::linspace(0, 1 + t.rank(), dim * dim).reshape({dim, dim}).to(c10::Device(t.device()));
  for (int step = 0; step < 5; ++step) {
    t.NoError("C5", [&] {
      optimizer.ZeroGrad();
      model.Backward(model.Forward({input}));
      optimizer.Step();
    });
    if (mutate) continue;
    const std::string when = fmt::format("weight after step {}", step);
    t.Check("C4", Equal(when + ": storage", StoragePointer(saved), StoragePointer(weight())));
    t.Strict("C4", SameValue(when, weight(), saved));
  }
}

}  // namespace shardcts::fully_shard_state_dict
