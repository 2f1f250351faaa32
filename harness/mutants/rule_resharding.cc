// Mutants of the rules of the suite storage: what goes wrong between the layout that saves and the one that loads.
#include <algorithm>

#include "mutants/checkpoints.h"

namespace shardcts {
namespace {

// Tensors are sharded over all ranks: the one with the most chunks has one of each.
bool IsOfAnotherWorld(MutantState& state, const Dict& arguments) {
  const Value keys = state.Require("storage.describe", {{"path", arguments.At("path")}}).AsDict().At("keys");
  size_t most = 0;
  for (const auto& [name, entry] : keys.AsDict()) {
    if (const Value* chunks = entry.AsDict().Find("chunks")) most = std::max(most, chunks->AsList().size());
  }
  return most != static_cast<size_t>(state.context.world_size);
}

bool IsOutsideOfAMesh(MutantState& state, const Dict& arguments) {
  bool is_outside = false;
  Value tree = arguments.At("state_dict");
  ForEachLeaf(tree, [&](Value& value) {
    const DTensor* tensor = value.TryAs<DTensor>();
    is_outside = is_outside || (tensor && !tensor->mesh.Coordinate(state.context.rank));
  });
  return is_outside;
}

bool HoldsNothingOfATensor(MutantState&, const Dict& arguments) {
  bool holds_nothing = false;
  Value tree = arguments.At("state_dict");
  ForEachLeaf(tree, [&](Value& value) {
    const ShardedTensor* sharded = value.TryAs<ShardedTensor>();
    holds_nothing = holds_nothing || (sharded && sharded->local_shards.empty());
  });
  return holds_nothing;
}

void FirstShardsOnly(MutantState&, const Dict&, Value& loaded) {
  ForEachLeaf(loaded, [](Value& value) {
    ShardedTensor* sharded = value.TryAs<ShardedTensor>();
    for (size_t i = 1; sharded && i < sharded->local_shards.size(); ++i) sharded->local_shards[i].tensor.fill_(0);
  });
}

void NestedPlainLost(MutantState&, const Dict&, Value& loaded) {
  for (auto& [name, value] : loaded.AsDict()) {
    if (!value.TryAs<Dict>()) continue;
    ForEachLeaf(value, [](Value& leaf) {
      if (Tensor* plain = leaf.TryAs<Tensor>()) plain->data.detach().fill_(0);
    });
  }
}

// Of a state dict with a part "optimizer".
void OptionsOfTheFirstGroup(MutantState&, const Dict&, Value& loaded) {
  Value* optimizer = loaded.AsDict().Find("optimizer");
  Value* groups = optimizer ? optimizer->AsDict().Find("param_groups") : nullptr;
  if (!groups || groups->AsList().empty()) return;
  const Dict first = groups->AsList().front().AsDict();
  for (Value& group : *groups->TryAs<List>()) {
    for (const auto& [name, option] : first) {
      if (name != Key("params")) group.AsDict().Set(name, option);
    }
  }
}

// The last read of each plan is left out.
void DropLastRead(MutantState&, const Dict&, Value& reads) {
  if (!reads.AsList().empty()) reads.TryAs<List>()->pop_back();
}

void OffsetsIn32Bits(MutantState&, const Dict&, Value& reads) {
  for (Value& read : *reads.TryAs<List>()) {
    std::vector<int64_t> offsets = read.AsDict().At("offsets").AsInts();
    for (int64_t& offset : offsets) offset = static_cast<int32_t>(offset);
    read.AsDict().Set("offsets", ToValue(offsets));
  }
}

}  // namespace

std::vector<MutantRow> StorageReshardingMutants() {
  return {
      StorageRule("RS1", "storage_other_worlds_refused", "a load by another number of ranks than the save's is an error",
                  "DeepSpeed#2898, #3810", RefuseLoads(IsOfAnotherWorld, "saved by another number of ranks"), 2),
      StorageRule("RS5", "storage_nested_plain_lost", "plain tensors of a model become zeros when they are loaded",
                  "a wrapper without DTensors", OnLoadedDict(NestedPlainLost)),
      StorageRule("RS7", "storage_first_shard_only", "of several shards of a rank the first alone is loaded",
                  "one shard on each rank", OnLoadedDict(FirstShardsOnly), 2),
      StorageRule("RS8", "storage_outside_refused", "a load is an error on ranks outside of a tensor's mesh",
                  "no coordinate where one is needed", RefuseLoads(IsOutsideOfAMesh, "a tensor of another mesh"), 3),
      StorageRule("RS9", "storage_wrong_parts_accepted", "a save takes local parts of a wrong shape",
                  "global shape and local part are not compared",
                  Swallow("storage.save", MessageHas("its placements give")), 2),
      StorageRule("OM5", "storage_no_rows_refused", "a load is an error on a rank that has no shard of some ShardedTensor",
                  "its keys are taken for those of an older format", RefuseLoads(HoldsNothingOfATensor, "no shard of a tensor"), 4),
      StorageRule("OM5", "storage_options_of_the_first_group", "after a load every group has the first one's options",
                  "lists of dicts under one name", OnLoadedDict(OptionsOfTheFirstGroup)),
      StorageRule("RS11", "storage_last_read_dropped", "the last of the planned reads is left out", "off by one in a sweep",
                  OnResult("storage.plan_reads", DropLastRead)),
      StorageRule("DT4", "storage_offsets_in_32_bits", "planned offsets have 32 bits", "int where int64_t is needed",
                  OnResult("storage.plan_reads", OffsetsIn32Bits)),
  };
}

}  // namespace shardcts
