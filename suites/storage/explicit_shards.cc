// Shards whose places their metadata say, ranks outside a tensor's mesh, and parts that do not fit together.
#include <ATen/ATen.h>

#include "rank/session.h"
#include "suites/rules/coded.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/sharded.h"

namespace shardcts::storage {
namespace {

// Cuts of a 9×5 matrix that no placement gives. Some ranks have several shards, one has none.
std::vector<ShardPlace> CutNamed(const std::string& name) {
  if (name == "corner") {  // on 2 ranks: a column, and what is beside it in two parts
    return {{0, {0, 0}, {9, 1}}, {1, {0, 1}, {6, 4}}, {0, {6, 1}, {3, 4}}};
  }
  if (name == "pinwheel") {  // on 3 ranks: four boxes around a fifth
    return {{0, {0, 0}, {6, 2}}, {1, {0, 2}, {3, 3}}, {2, {3, 4}, {6, 1}}, {0, {6, 0}, {3, 4}}, {2, {3, 2}, {3, 2}}};
  }
  if (name == "backwards") {  // on 2 ranks: the last rows are on the first rank
    return {{1, {0, 0}, {4, 5}}, {0, {4, 0}, {5, 5}}};
  }
  if (name == "idle") {  // on 3 ranks: the second has nothing
    return {{0, {0, 0}, {2, 5}}, {2, {2, 0}, {7, 5}}};
  }
  if (name == "with_empty") {  // on 2 ranks: a shard without rows begins where another does
    return {{0, {0, 0}, {0, 5}}, {1, {0, 0}, {9, 5}}};
  }
  if (name == "empty_behind") return {{0, {0, 0}, {9, 5}}, {0, {0, 0}, {0, 5}}};  // on 1 rank: the same, the other way
  throw HarnessError(fmt::format("no cut \"{}\"", name));
}

at::Tensor NinePlusFive() { return rules::Coded({9, 5}, 1, 2); }

// Shards over the pool, 6×2, that contradict the shape; of one rank both are its own.
std::vector<ShardPlace> WrongPlaces(const Trial& t, const std::string& wrong) {
  const int64_t last = t.world_size() - 1;
  if (wrong == "gap") return {{0, {0, 0}, {3, 2}}, {last, {4, 0}, {2, 2}}};
  if (wrong == "overlap") return {{0, {0, 0}, {4, 2}}, {last, {3, 0}, {3, 2}}};
  return {{0, {0, 0}, {3, 2}}, {last, {3, 0}, {4, 2}}};
}

Value WrongState(const Trial& t, const World& world, const std::string& wrong) {
  const at::Tensor whole = rules::Coded({6, 2}, 1);
  if (!wrong.ends_with("_part")) return ShardedOf(t, whole, WrongPlaces(t, wrong));
  DTensor part = PartOf(whole, world.layout(), PlacementsOf("S0"), t.rank());
  const int64_t rows = part.local.size(0);
  if (t.rank() == t.world_size() - 1) part.local = at::zeros({wrong == "short_part" ? rows - 1 : rows + 1, 2});
  return part;
}

}  // namespace

RULE(RS7) {
  const std::string cut = t.TextParam("cut");
  const World world = FirstRanks(t);
  const at::Tensor whole = NinePlusFive();
  const std::vector<PlacedTensor> wanted = {{"matrix", {9, 5}, cut == "plain" ? "" : "S0"}};
  const bool is_cut = cut != "plain" && cut != "rows";
  if (Saves(t)) return world.Save({{"matrix", ShardedOf(t, whole, CutNamed(cut))}}, "checkpoint");
  const Value destination = is_cut ? Value(ShardedOf(t, at::full({9, 5}, 1.0f), CutNamed(cut)))
                                   : BlankState(t, world, wanted).At("matrix");
  const Value loaded = world.Load({{"matrix", destination}}, "checkpoint").At("matrix");
  if (is_cut) {
    t.Rule(SameValue("what was loaded", ShardedOf(t, whole, CutNamed(cut)), loaded));
  } else if (cut == "plain") {
    t.Rule(SameValue("what was loaded", whole, loaded));
  } else {
    t.Rule(SameValue("what was loaded", PartOf(whole, world.layout(), PlacementsOf("S0"), t.rank()), loaded));
  }
  t.Rule(SameValue("what was read", whole, ReadCheckpoint(t.caller(), "checkpoint").At("matrix")));
}

RULE(RS8) {
  // All ranks but the second; in the phase that loads all but the first.
  const int64_t outside = Saves(t) ? 1 : 0;
  std::vector<int64_t> members;
  for (int64_t rank = 0; rank < t.world_size(); ++rank) {
    if (rank != outside) members.push_back(rank);
  }
  const World all = FirstRanks(t), some(t, members);
  const std::vector<PlacedTensor> common = {{"common", {4, 2}, "S0"}}, apart = {{"apart", {7, 3}, "S0"}};
  Dict state = Saves(t) ? CodedState(t, all, common) : BlankState(t, all, common);
  if (some.Has(t.rank())) {
    state.Set("apart", (Saves(t) ? CodedState(t, some, apart) : BlankState(t, some, apart)).At("apart"));
  } else {
    // As PyTorch has it there: the layout, and a local part without elements.
    state.Set("apart", DTensor{.local = at::empty({0}), .mesh = some.layout(), .placements = PlacementsOf("S0"),
                               .shape = {7, 3}, .stride = {3, 1}});
  }
  if (Saves(t)) return all.Save(state, "checkpoint");
  Dict loaded = all.Load(state, "checkpoint");
  if (some.Has(t.rank())) {
    HasCoded(t, "on ranks of the mesh", some, apart, Dict{{"apart", loaded.At("apart")}});
  } else {
    t.Rule(Equal<int64_t>("elements outside the mesh", 0, loaded.At("apart").AsDTensor().local.numel()));
  }
  loaded.Erase(std::string("apart"));
  HasCoded(t, "on all ranks", all, common, loaded);
  t.Rule(SameValue("read", WholeState(apart).At("apart"), ReadCheckpoint(t.caller(), "checkpoint").At("apart")));
}

RULE(RS9) {
  const World world = FirstRanks(t);
  const std::string wrong = t.TextParam("wrong");
  IsRefused(t, "a save of parts that do not fit together", {},
            [&] { world.Save({{"matrix", WrongState(t, world, wrong)}}, "checkpoint"); });
  t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "checkpoint").complete));
}

}  // namespace shardcts::storage
