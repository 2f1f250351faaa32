// Resharding: saved by one world, loaded by another.
#include <ATen/ATen.h>

#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

// Rows that divide by some numbers of ranks and not by others, and fewer rows than ranks.
const std::vector<PlacedTensor> kRows = {{"weight", {12, 3}, "S0"}, {"uneven", {7, 2}, "S0"}, {"few", {2, 2}, "S0"},
                                         {"columns", {3, 5}, "S1"}, {"replicated", {4}, "R"}, {"plain", {3}, ""}};

// The phase that runs: "save" writes `saved`, "load" fills `wanted` on its own ranks, and then reads all of `saved`.
void SaveOrLoad(Trial& t, const std::vector<PlacedTensor>& saved, const std::vector<PlacedTensor>& wanted,
                const std::vector<int64_t>& mesh_shape = {}) {
  const World world = FirstRanks(t, 0, mesh_shape);
  if (Saves(t)) return world.Save(CodedState(t, world, saved), "checkpoint");
  HasCoded(t, "what was loaded", world, wanted, world.Load(BlankState(t, world, wanted), "checkpoint"));
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

// All of them under the placements of the phase.
void SaveOrLoadPlaced(Trial& t, const std::vector<PlacedTensor>& tensors) {
  const std::string placements = t.TextParam("placements");
  const std::vector<PlacedTensor> placed = WithPlacements(tensors, placements);
  SaveOrLoad(t, placed, placed, MeshFor(t, placements));
}

}  // namespace

RULE(RS1) { SaveOrLoad(t, kRows, kRows); }

RULE(RS2) {
  std::vector<PlacedTensor> tensors;
  for (int64_t rows : {0, 1, 5, 7}) tensors.push_back({fmt::format("rows{}", rows), {rows, 2}, "S0"});
  SaveOrLoad(t, tensors, tensors);
}

RULE(RS3) {
  SaveOrLoadPlaced(t, {{"matrix", {7, 5, 4}, ""}, {"four", {3, 6, 5, 2}, ""}, {"five", {4, 3, 5, 2, 3}, ""}});
}

RULE(RS4) {
  std::vector<PlacedTensor> tensors;
  for (int64_t rows : {3, 5, 6, 7, 8, 13}) tensors.push_back({fmt::format("rows{}", rows), {rows, 2}, ""});
  SaveOrLoadPlaced(t, tensors);
}

RULE(RS6) {
  const std::string kind = t.TextParam("as");
  const std::vector<PlacedTensor> tensors =
      kind == "sharded" ? kRows : WithPlacements(kRows, kind == "plain" ? "" : "R");
  SaveOrLoad(t, tensors, tensors);
}

RULE(RS13) {
  const std::vector<PlacedTensor> tensors = {
      {"even", {8, 2}, "_S0_2"}, {"uneven", {7, 2}, "_S0_2"}, {"columns", {3, 10}, "_S1_3"}};
  const World world = FirstRanks(t);
  try {
    world.Save(CodedState(t, world, tensors), "checkpoint");
  } catch (const OperationFailed&) {
    t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "checkpoint").complete));
    return;
  }
  HasCoded(t, "what was loaded", world, tensors, world.Load(BlankState(t, world, tensors), "checkpoint"));
  HoldsCoded(t, "what was read", tensors, "checkpoint");
}

}  // namespace shardcts::storage
