// LOCAL state dicts: ranks without a shard, files, another world size.
#include <ATen/ATen.h>

#include <optional>

#include "suites/fsdp_state_dict/ports.h"
#include "suites/fsdp_state_dict/steps.h"

namespace shardcts::fsdp_state_dict {
namespace {

const at::Tensor& OnlyShard(const Value& value) {
  const std::vector<LocalShard>& shards = value.AsShardedTensor().local_shards;
  if (shards.empty()) throw ContractViolation("expected a shard on this rank, actual " + ToString(value));
  return shards.front().tensor;
}

// A ShardedTensor over two ranks, in chunks of ceil(n / 2), made from the full tensor.
ShardedTensor Resharded(const Trial& t, const at::Tensor& full) {
  const std::vector<at::Tensor> chunks = full.chunk(2);
  ShardedTensor resharded{.shape = full.sizes().vec(), .dtype = full.scalar_type(), .ranks = {0, 1}};
  int64_t offset = 0;
  for (int64_t rank = 0; rank < 2; ++rank) {
    const int64_t length = chunks[rank].size(0);
    resharded.metadata.push_back({{offset}, {length}, rank, full.device().str()});
    if (rank == t.rank()) resharded.local_shards.push_back({resharded.metadata.back(), chunks[rank].clone()});
    offset += length;
  }
  return resharded;
}

Model UnitsOver(Trial& t, const FsdpOptions& options) {
  Model model = t.subject().Build("inner_outer", {});
  WrapFsdp(model, "inner", options);
  WrapFsdp(model, "", options);
  model.To(t.device());
  return model;
}

}  // namespace

PORT(test_local_state_dict_with_empty_ranks) {
  Model model = t.subject().Build("one_parameter", {}, t.device());
  WrapFsdp(model, "");
  const auto expect_value = [&](std::string_view check, double value) {
    const Value parameter = model.Parameters().At("my_parameter");
    t.Check(check, SameValue("my_parameter", at::full({1}, value, at::kFloat), Value(parameter.AsTensor().detach()),
                             {.dtype_default_tolerance = true}));
  };
  WithStateDictType(model, StateDictKind::kLocal, [&] {
    t.NoError("C1", [&] { model.Backward(model.Forward({at::zeros({1})})); });
    Dict saved;
    t.NoError("C2", [&] { saved = t.subject().Clone(model.StateDict()).AsDict(); });
    t.Strict("C2", Equal("local shards", t.rank() == 0 ? size_t{1} : size_t{0},
                         saved.At("_flat_param").AsShardedTensor().local_shards.size()));
    WithFullParams(model, [&] {
      expect_value("C3", 3.1415926);
      model.SetValues({{"my_parameter", at::full({1}, 1.75)}});
      expect_value("C4", 1.75);
    });
    Load(t, "C5", model, saved);
    WithFullParams(model, [&] { expect_value("C6", 3.1415926); });
  });
}

PORT(test_torch_save_load) {
  Model model = t.subject().Build("inner_outer", {});
  WrapFsdp(model, "inner");
  model.To(t.device());
  Dict saved;
  WithStateDictType(model, StateDictKind::kLocal, [&] { t.NoError("C5", [&] { saved = model.StateDict(); }); });
  Bytes file;
  t.NoError("C1", [&] { file = Serialize(model.caller(), saved); });
  Dict loaded;
  t.NoError("C2", [&] { loaded = Deserialize(model.caller(), file); });
  t.Strict("C2", SameNames("keys of the file", {"inner._flat_param", "outer.weight", "outer.bias"}, loaded.Keys()));
  for (const auto& [name, value] : saved) {
    const Value& other = loaded.At(name);
    if (value.TryAs<ShardedTensor>()) {
      t.Check("C3", SameValue(ToString(name), Value(OnlyShard(value).detach()), Value(OnlyShard(other).detach())));
      t.Strict("C3", SameValue(ToString(name) + " with its metadata", value, other));
    } else {
      t.Check("C4", SameValue(ToString(name), Value(value.AsTensor().detach()), Value(other.AsTensor().detach())));
    }
  }
}

PORT(test_local_state_dict_reshard) {
  Model model = UnitsOver(t, {});
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.1});
  t.NoError("C1", [&] {
    model.Backward(model.Forward({RandomInput(t, {4, 4})}));
    optimizer.Step();
  });
  Dict saved;
  WithStateDictType(model, StateDictKind::kLocal, [&] { t.NoError("C2", [&] { saved = model.StateDict(); }); });
  const ProcessGroup group = NewGroup(model.caller(), {0, 1});
  Dict gathered;
  t.NoError("C3", [&] { gathered = GatherStateDict(model.caller(), saved); });

  Dict resharded;
  FsdpOptions over_group;
  over_group.process_group = group;
  std::optional<Model> other;
  t.Among({0, 1}, [&] {
    for (const auto& [name, value] : gathered) resharded.Set(name, Resharded(t, value.AsTensor()));
    // Clones are made by the implementation from the given shards, so it must have built the ShardedTensor.
    t.NoError("C4", [&] { resharded = t.subject().Clone(resharded).AsDict(); });
    other.emplace(UnitsOver(t, over_group));
    WithStateDictType(*other, StateDictKind::kLocal, [&] { Load(t, "C5", *other, resharded); });
  });
  Dict full;
  WithStateDictType(model, StateDictKind::kFull, [&] { t.NoError("C6", [&] { full = model.StateDict(); }); });
  t.Among({0, 1}, [&] {
    Dict full_of_other;
    WithStateDictType(*other, StateDictKind::kFull,
                      [&] { t.NoError("C8", [&] { full_of_other = other->StateDict(); }); });
    ExpectSame(t, "C7", full, full_of_other);
  });
}

}  // namespace shardcts::fsdp_state_dict
