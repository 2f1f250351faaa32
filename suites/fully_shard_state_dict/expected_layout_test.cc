#include "suites/fully_shard_state_dict/expected_layout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "contract/parts.h"

namespace shardcts::fully_shard_state_dict {
namespace {

std::vector<int64_t> Rows(const std::vector<int64_t>& shape, int64_t world, const Placement& placement) {
  std::vector<int64_t> rows;
  const MeshLayout mesh = WorldMesh("cpu", {world}, {});
  for (int64_t rank = 0; rank < world; ++rank) {
    rows.push_back(LocalSlice(at::zeros(shape), mesh, {placement}, rank).size(placement.dim));
  }
  return rows;
}

TEST(ExpectedLayout, CeilChunksLeaveTheLastRanksShort) {
  EXPECT_EQ(Rows({2, 8}, 4, Placement::Shard(0)), (std::vector<int64_t>{1, 1, 0, 0}));
  EXPECT_EQ(Rows({5, 20}, 4, Placement::Shard(0)), (std::vector<int64_t>{2, 2, 1, 0}));
  EXPECT_EQ(Rows({5}, 4, Placement::Shard(0)), (std::vector<int64_t>{2, 2, 1, 0}));
  EXPECT_EQ(Rows({3, 12}, 4, Placement::Shard(0)), (std::vector<int64_t>{1, 1, 1, 0}));
  EXPECT_EQ(Rows({16, 64}, 4, Placement::Shard(1)), (std::vector<int64_t>{16, 16, 16, 16}));
}

TEST(ExpectedLayout, TensorParallelSplitsBeforeFsdp) {
  // 8 rows, mesh (dp 2, tp 2): tp parts are rows 0-3 and 4-7, dp halves each.
  const MeshLayout mesh = WorldMesh("cpu", {2, 2}, {"dp", "tp"});
  const auto placements = FsdpOnTensorParallel(Placement::Shard(0), 2);
  EXPECT_EQ(ToString(placements), "[_S(0,2), S(0)]");
  const at::Tensor full = at::arange(8);
  const int64_t first_rows[] = {0, 4, 2, 6};  // ranks (dp, tp) = (0,0), (0,1), (1,0), (1,1)
  for (int64_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(LocalSlice(full, mesh, placements, rank)[0].item<int64_t>(), first_rows[rank]) << rank;
  }
}

TEST(ExpectedLayout, PlacementsOfTheSpecification) {
  EXPECT_EQ(ToString(FsdpOnTensorParallel(TensorParallelPlacement("0.out_proj.weight"), 2)), "[S(0), S(1)]");
  EXPECT_EQ(ToString(FsdpOnTensorParallel(TensorParallelPlacement("0.out_proj.bias"), 2)), "[S(0), R]");
  EXPECT_EQ(ToString(FsdpOnTensorParallel(TensorParallelPlacement("0.in_proj.bias"), 1)), "[S(0), S(0)]");
  EXPECT_EQ(LargestDim({16, 64}), 1);
  EXPECT_EQ(LargestDim({16, 16}), 0);
}

TEST(ExpectedLayout, PositionCodesDiffer) {
  EXPECT_EQ(PositionCoded({2, 3}, 2)[1][2].item<float>(), 2005);
}

TEST(ExpectedLayout, EvenSplits) {
  const MeshLayout mesh = WorldMesh("cpu", {2, 2}, {"dp", "tp"});
  EXPECT_TRUE(SplitsEvenly({"w", {8, 3}, {Placement::StridedShard(0, 2), Placement::Shard(0)}}, mesh));
  EXPECT_FALSE(SplitsEvenly({"w", {6, 3}, {Placement::StridedShard(0, 2), Placement::Shard(0)}}, mesh));
}

}  // namespace
}  // namespace shardcts::fully_shard_state_dict
