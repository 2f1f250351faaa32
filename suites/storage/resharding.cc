// Resharding: saved by one world, loaded by another.
#include <ATen/ATen.h>

#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

// Rows that divide by some numbers of ranks and not by others, and fewer rows than ranks.
const std::vector<PlacedTensor> kRows = {{"weight", {12, 3}, "S0"}, {"uneven", {7, 2}, "S0"}, {"few", {2, 2}, "S0"},
                                         {"columns", {3, 5}, "S1"}, {"replicated", {4}, "R"}, {"plain", {3}, ""}};

// Saved by one world and loaded by the other, and then read whole by every rank of the pool.
void Reshard(Trial& t, const World& from, const std::vector<PlacedTensor>& saved, const World& to,
             const std::vector<PlacedTensor>& wanted) {
  from.Save(CodedState(t, from, saved), "checkpoint");
  HasCoded(t, "what was loaded", to, wanted, to.Load(BlankState(t, to, wanted), "checkpoint"));
  HoldsCoded(t, "what was read", saved, "checkpoint");
}

std::vector<PlacedTensor> WithPlacements(std::vector<PlacedTensor> tensors, const std::string& placements) {
  for (PlacedTensor& tensor : tensors) tensor.placements = placements;
  return tensors;
}

// The mesh shape that so many placements need over the pool.
std::vector<int64_t> MeshFor(const Trial& t, const std::string& placements) {
  if (placements.find('.') == placements.npos) return {t.world_size()};
  return {2, t.world_size() / 2};
}

}  // namespace

RULE(RS1) {
  const World from = FirstRanks(t, t.IntParam("from")), to = FirstRanks(t, t.IntParam("to"));
  Reshard(t, from, kRows, to, kRows);
}

RULE(RS2) {
  const World from = FirstRanks(t, t.IntParam("from")), to = FirstRanks(t, t.IntParam("to"));
  std::vector<PlacedTensor> tensors;
  for (int64_t rows : {0, 1, 5, 7}) tensors.push_back({fmt::format("rows{}", rows), {rows, 2}, "S0"});
  Reshard(t, from, tensors, to, tensors);
}

RULE(RS3) {
  const std::string from = t.TextParam("from"), to = t.TextParam("to");
  const std::vector<PlacedTensor> tensors = {{"matrix", {7, 5, 4}, ""}, {"four", {3, 6, 5, 2}, ""},
                                             {"five", {4, 3, 5, 2, 3}, ""}};
  Reshard(t, FirstRanks(t, 0, MeshFor(t, from)), WithPlacements(tensors, from), FirstRanks(t, 0, MeshFor(t, to)),
          WithPlacements(tensors, to));
}

RULE(RS4) {
  const std::vector<PlacedTensor> strided = {{"rows3", {3, 2}, "_S0_2.S0"}, {"rows5", {5, 2}, "_S0_2.S0"},
                                             {"rows6", {6, 2}, "_S0_2.S0"}, {"rows7", {7, 2}, "_S0_2.S0"},
                                             {"rows8", {8, 2}, "_S0_2.S0"}};
  const World pair = FirstRanks(t, 0, MeshFor(t, "_S0_2.S0")), line = FirstRanks(t);
  const bool is_saved_strided = t.TextParam("from") == "strided";
  const std::vector<PlacedTensor> plain = WithPlacements(strided, "S0");
  if (is_saved_strided) return Reshard(t, pair, strided, line, plain);
  Reshard(t, line, plain, pair, strided);
}

RULE(RS6) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> whole = WithPlacements(kRows, ""), sharded = WithPlacements(kRows, "R");
  if (t.TextParam("from") == "sharded") return Reshard(t, world, kRows, world, whole);
  if (t.TextParam("from") == "replicated") return Reshard(t, world, sharded, world, kRows);
  Reshard(t, world, whole, world, kRows);
}

}  // namespace shardcts::storage
