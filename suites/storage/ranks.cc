// Ranks: who writes, who is asked, and who hears of an error.
#include <ATen/ATen.h>

#include <filesystem>

#include "suites/rules/coded.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

constexpr int64_t kLarge = 40'000;  // elements of a tensor that no format's own bytes hide

const std::vector<PlacedTensor> kTwo = {{"weight", {5, 2}, "S0"}, {"bias", {5}, "R"}};

}  // namespace

RULE(RK1) {
  const World world = FirstRanks(t, 0, {2, t.world_size() / 2});
  const at::Tensor whole = at::arange(kLarge, at::kFloat);
  const std::string placements = t.TextParam("placements");
  const Value tensor = placements == "plain" ? Value(whole)
                                             : Value(PartOf(whole, world.layout(), PlacementsOf(placements), t.rank()));
  world.Save({{"tensor", tensor}}, "replicas");
  const int64_t bytes = BytesBelow(t.Folder("replicas"));
  t.Rule(Holds(bytes < kLarge * 4 + 65536, "the checkpoint",
               fmt::format("has {} bytes for {} of data", bytes, kLarge * 4)));
  const SavedEntry entry = DescribeCheckpoint(t.caller(), "replicas").entries["tensor"];
  int64_t elements = 0;
  for (const ChunkBox& chunk : entry.chunks) elements += chunk.sizes.at(0);
  t.Rule(Equal<int64_t>("elements in chunks", kLarge, elements));
  t.Rule(SameValue("what was read", whole, ReadCheckpoint(t.caller(), "replicas").At("tensor")));
}

RULE(RK5) {
  const World world = FirstRanks(t);
  Dict state = CodedState(t, world, kTwo);
  Dict destination = BlankState(t, world, kTwo);
  const std::string own = fmt::format("of rank {}", t.rank());
  state.Set(own, rules::Coded({3}, 10 + t.rank()));
  state.Set(own + " value", t.rank());
  destination.Set(own, at::zeros({3}));
  destination.Set(own + " value", -1);
  world.Save(state, "uneven");
  const Dict loaded = world.Load(destination, "uneven");
  t.Rule(SameValue("what was loaded", state, InOrderOf(state, loaded)));
  const Dict read = ReadCheckpoint(t.caller(), "uneven");
  t.Rule(Equal<size_t>("names", kTwo.size() + 2 * static_cast<size_t>(t.world_size()), read.size()));
  for (int64_t rank = 0; rank < t.world_size(); ++rank) {
    const Value* tensor = read.Find(fmt::format("of rank {}", rank));
    if (!t.Rule(Holds(tensor != nullptr, fmt::format("the entry of rank {}", rank), "was not saved"))) continue;
    t.Rule(SameValue(fmt::format("the entry of rank {}", rank), rules::Coded({3}, 10 + rank), *tensor));
  }
}

RULE(RK7) {
  std::vector<int64_t> others;
  for (int64_t rank = 1; rank < t.world_size(); ++rank) others.push_back(rank);
  const World world(t, others);
  world.Save(CodedState(t, world, kTwo), "group");
  HasCoded(t, "what was loaded", world, kTwo, world.Load(BlankState(t, world, kTwo), "group"));
  HoldsCoded(t, "what was read", kTwo, "group");
}

RULE(RK8) {
  const World world = FirstRanks(t);
  const std::string last = fmt::format("rank {}", t.world_size() - 1);
  world.Save(CodedState(t, world, kTwo), "good");
  IsRefused(t, "a save that fails on the last rank", {last, "x.y"},
            [&] { world.Save(ClashingOnLast(t, CodedState(t, world, kTwo)), "bad"); });
  t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "bad").complete));
  Dict destination = BlankState(t, world, kTwo);
  if (t.rank() == t.world_size() - 1) destination.Set("missing", at::zeros({2}));
  IsRefused(t, "a load that fails on the last rank", {last, "missing"}, [&] { world.Load(destination, "good"); });
  HasCoded(t, "the next load", world, kTwo, world.Load(BlankState(t, world, kTwo), "good"));
}

RULE(RK10) {
  std::vector<int64_t> others;
  for (int64_t rank = 1; rank < t.world_size(); ++rank) others.push_back(rank);
  const World world(t, others);
  const std::string last = fmt::format("rank {}", t.world_size() - 1);
  const auto refused = [&](const char* what, const char* name, const std::function<void()>& call) {
    world.Has(t.rank()) ? IsRefused(t, what, {last, name}, call) : call();
  };
  world.Save(CodedState(t, world, kTwo), "good");
  refused("a save that fails on the last rank", "x.y",
          [&] { world.Save(ClashingOnLast(t, CodedState(t, world, kTwo)), "bad"); });
  Dict destination = BlankState(t, world, kTwo);
  if (t.rank() == t.world_size() - 1) destination.Set("missing", at::zeros({2}));
  refused("a load that fails on the last rank", "missing", [&] { world.Load(destination, "good"); });
  t.AllGather(Value());
  t.Rule(Equal("whether what failed is complete", false, DescribeCheckpoint(t.caller(), "bad").complete));
}

}  // namespace shardcts::storage
