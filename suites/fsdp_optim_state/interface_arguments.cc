// The arguments of optim_state_dict and of its settings: which state dict, its form, and where the values are.
#include <ATen/ATen.h>

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/ports.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {
namespace {

// Calls `check` with the name and the value of each state; those without dimensions only if wanted.
void ForEachState(const Dict& saved, bool with_scalars,
                  const std::function<void(const std::string& what, const Value&)>& check) {
  for (const auto& [parameter, entry] : StateOf(saved)) {
    for (const auto& [name, value] : entry.AsDict()) {
      const Tensor* tensor = value.TryAs<Tensor>();
      if (!with_scalars && tensor && tensor->data.dim() == 0) continue;
      check(ToString(parameter) + "." + ToString(name), value);
    }
  }
}

Verification IsNotSharded(const std::string& what, const Value& value) {
  return Holds(value.type() != Value::Type::kShardedTensor, what, "expected no ShardedTensor, actual " + ToString(value));
}

Verification IsOn(const std::string& device, const std::string& what, const at::Tensor& tensor) {
  const std::string actual = c10::DeviceTypeName(tensor.device().type(), /*lower_case=*/true);
  return Equal(what + ": device", device, actual);
}

// C15 to C17.
void ExpectShards(Trial& t, const std::string& what, const Value& value) {
  const ShardedTensor* sharded = value.TryAs<ShardedTensor>();
  if (!t.Check("C15", Holds(sharded != nullptr, what, "expected a ShardedTensor, actual " + ToString(value)))) return;
  const std::vector<LocalShard>& shards = sharded->local_shards;
  if (!t.Check("C16", Holds(!shards.empty(), what, "expected a shard on this rank, there is none"))) return;
  const int64_t rows = (sharded->shape.front() + t.world_size() - 1) / t.world_size();
  t.Strict("C16", Equal(what + ": first row of the shard", rows * t.rank(), shards.front().metadata.offsets.front()));
  t.Check("C17", IsOn(t.device(), what, shards.front().tensor));
}

}  // namespace

PORT(test_interface_arguments) {
  Model plain = t.subject().Build("four_nets", {}, t.device());
  Model model = plain.Copy();
  WrapFsdp(model, "");
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  Optimizer plain_optimizer = t.subject().CreateOptimizer(plain, "adam", {.lr = 1e-2});

  StepOnOutput(model, optimizer, UniformInput(t, {8, 8}, 0));
  const Dict original = Cloned(t, optimizer.StateDict());
  const auto save = [&] { return OptimStateDict(model, optimizer, {.state_dict = original}); };
  Dict saved = save();
  ExpectSameState(t,
                  {.other = "C1", .own = "C2", .keys = "C3", .names = "C4", .values = "C5", .dtypes = "C6"},
                  OptimStateDict(model, optimizer), saved);
  StepOnOutput(plain, plain_optimizer, UniformInput(t, {8, 8}, 0));
  ExpectStateOfTwin(t, "C5", StateByName(t, plain_optimizer, AllParameters(plain)), saved);

  StepOnOutput(model, optimizer, UniformInput(t, {8, 8}, 1));
  OptimStateDictToLoad(model, optimizer, saved, {.load_directly = true});
  ExpectSameState(t,
                  {.other = "C7", .own = "C8", .keys = "C9", .names = "C10", .values = "C11", .dtypes = "C12"},
                  optimizer.StateDict(), original);

  saved = save();
  ForEachState(saved, /*with_scalars=*/true, [&](const std::string& what, const Value& value) {
    if (t.Check("C13", IsNotSharded(what, value))) t.Check("C14", IsOn("cpu", what, value.AsTensor()));
  });
  const StateDictConfig on_device{.optim = OptimStateDictConfig{.offload_to_cpu = false}};
  WithStateDictType(model, StateDictKind::kSharded, on_device, [&] {
    ForEachState(save(), /*with_scalars=*/false,
                 [&](const std::string& what, const Value& value) { ExpectShards(t, what, value); });
  });
  const StateDictConfig rank0_only{.optim = OptimStateDictConfig{.rank0_only = true}};
  WithStateDictType(model, StateDictKind::kFull, rank0_only, [&] {
    saved = save();
    if (t.rank() > 0) {
      t.Check("C18", SameNames("members of the state dict on this rank", {}, saved.Keys()));
      return;
    }
    ForEachState(saved, /*with_scalars=*/false, [&](const std::string& what, const Value& value) {
      if (t.Check("C20", IsNotSharded(what, value))) t.Check("C19", IsOn("cpu", what, value.AsTensor()));
    });
  });
}

}  // namespace shardcts::fsdp_optim_state
