#include "tensor/sharding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using testing::ElementsAre;
using Ints = std::vector<int64_t>;
using Placements = std::vector<Placement>;

const Placement R = Placement::Replicate();
Placement S(int64_t dim) { return Placement::Shard(dim); }
Placement SS(int64_t dim, int64_t split_factor) { return Placement::StridedShard(dim, split_factor); }

// All indices that a rank holds of a one-dimensional tensor.
Ints Indices(int64_t size, const Ints& mesh_shape, const Ints& coordinate, const Placements& placements) {
  Ints indices;
  for (const Range& range : OwnedRanges(size, 0, mesh_shape, coordinate, placements)) {
    for (int64_t index = range.begin; index < range.end; ++index) indices.push_back(index);
  }
  return indices;
}

Ints IndicesOf(Range range) {
  Ints indices;
  for (int64_t index = range.begin; index < range.end; ++index) indices.push_back(index);
  return indices;
}

TEST(ShardingTest, ChunkIsCeilChunkForEverySizeAndWorld) {
  for (int64_t world : {1, 2, 3, 4, 5, 8}) {
    for (int64_t size : {int64_t{0}, int64_t{1}, world - 1, world, world + 1, 3 * world + 1, 4 * world}) {
      const int64_t chunk = size / world + (size % world != 0);
      int64_t next = 0;
      for (int64_t rank = 0; rank < world; ++rank) {
        const Range range = Chunk(size, world, rank);
        EXPECT_EQ(range.begin, next) << size << " over " << world << " at " << rank;
        EXPECT_EQ(range.size(), std::clamp(size - rank * chunk, int64_t{0}, chunk));
        next = range.end;
      }
      EXPECT_EQ(next, size);
    }
  }
}

TEST(ShardingTest, LastRanksHoldFewerRowsOrNone) {
  const auto shapes = [](int64_t rows, int64_t world) {
    std::vector<Ints> shapes;
    for (int64_t rank = 0; rank < world; ++rank) shapes.push_back(LocalShape({rows, 8}, {world}, {rank}, {S(0)}));
    return shapes;
  };
  EXPECT_THAT(shapes(3, 2), ElementsAre(Ints{2, 8}, Ints{1, 8}));
  EXPECT_THAT(shapes(5, 4), ElementsAre(Ints{2, 8}, Ints{2, 8}, Ints{1, 8}, Ints{0, 8}));
  EXPECT_THAT(shapes(2, 3), ElementsAre(Ints{1, 8}, Ints{1, 8}, Ints{0, 8}));
  EXPECT_THAT(shapes(9, 4), ElementsAre(Ints{3, 8}, Ints{3, 8}, Ints{3, 8}, Ints{0, 8}));
}

TEST(ShardingTest, OffsetOfAnEmptyShardIsTheEnd) {
  EXPECT_THAT(GlobalOffset({5, 4}, {4}, {2}, {S(0)}), ElementsAre(4, 0));
  EXPECT_THAT(GlobalOffset({5, 4}, {4}, {3}, {S(0)}), ElementsAre(5, 0));
  EXPECT_THAT(GlobalOffset({5, 0}, {4}, {0}, {S(0)}), ElementsAre(0, 0));
}

TEST(ShardingTest, OffsetsOfADimensionWithoutElements) {
  EXPECT_THAT(GlobalOffset({0, 3}, {2}, {1}, {S(0)}), ElementsAre(0, 0));
  EXPECT_THAT(LocalShape({0, 3}, {2}, {1}, {S(1)}), ElementsAre(0, 1));
}

TEST(ShardingTest, MeshDimensionsCutFromLeftToRight) {
  // 10 rows, mesh 2x2: 5 and 5, then 3, 2.
  EXPECT_EQ(Indices(10, {2, 2}, {0, 0}, {S(0), S(0)}), (Ints{0, 1, 2}));
  EXPECT_EQ(Indices(10, {2, 2}, {0, 1}, {S(0), S(0)}), (Ints{3, 4}));
  EXPECT_EQ(Indices(10, {2, 2}, {1, 0}, {S(0), S(0)}), (Ints{5, 6, 7}));
  EXPECT_EQ(Indices(10, {2, 2}, {1, 1}, {S(0), S(0)}), (Ints{8, 9}));
}

TEST(ShardingTest, DifferentDimensionsAreCutIndependently) {
  EXPECT_THAT(LocalShape({5, 7}, {2, 3}, {1, 2}, {S(0), S(1)}), ElementsAre(2, 1));
  EXPECT_THAT(GlobalOffset({5, 7}, {2, 3}, {1, 2}, {S(0), S(1)}), ElementsAre(3, 6));
  EXPECT_THAT(LocalShape({5, 7}, {2, 3}, {1, 2}, {R, S(1)}), ElementsAre(5, 1));
}

TEST(ShardingTest, StridedShardPutsTheLaterMeshDimensionFirst) {
  const Placements placements = {SS(0, 2), S(0)};
  EXPECT_EQ(Indices(8, {2, 2}, {0, 0}, placements), (Ints{0, 1}));
  EXPECT_EQ(Indices(8, {2, 2}, {0, 1}, placements), (Ints{4, 5}));
  EXPECT_EQ(Indices(8, {2, 2}, {1, 0}, placements), (Ints{2, 3}));
  EXPECT_EQ(Indices(8, {2, 2}, {1, 1}, placements), (Ints{6, 7}));
}

TEST(ShardingTest, StridedShardCutsWhatTensorParallelismLeft) {
  // dp cuts the rows that tp gave: the closed form for every size, uneven and empty parts included.
  for (const auto& [dp, tp] : std::vector<std::pair<int64_t, int64_t>>{{2, 2}, {2, 4}, {3, 2}, {4, 2}, {1, 2}}) {
    for (int64_t size = 0; size <= 3 * dp * tp + 1; ++size) {
      for (int64_t rank = 0; rank < dp * tp; ++rank) {
        const Range of_tp = Chunk(size, tp, rank % tp);
        const Range of_dp = Chunk(of_tp.size(), dp, rank / tp);
        EXPECT_EQ(Indices(size, {dp, tp}, {rank / tp, rank % tp}, {SS(0, tp), S(0)}),
                  IndicesOf({of_tp.begin + of_dp.begin, of_tp.begin + of_dp.end}))
            << size << " over " << dp << "x" << tp << " at " << rank;
      }
    }
  }
}

TEST(ShardingTest, StridedShardWithoutAnOrderTakesPartsOfEachPiece) {
  const Placements placements = {SS(0, 2)};
  EXPECT_EQ(ShardOrder(placements, {4}, 0), std::nullopt);
  EXPECT_EQ(Indices(9, {4}, {0}, placements), (Ints{0, 1, 5}));
  EXPECT_EQ(Indices(9, {4}, {1}, placements), (Ints{2, 3, 6}));
  EXPECT_EQ(Indices(9, {4}, {2}, placements), (Ints{4, 7}));
  EXPECT_EQ(Indices(9, {4}, {3}, placements), (Ints{8}));
}

TEST(ShardingTest, ShardOrderIsReadFromTheSplitFactors) {
  const Ints mesh_shape = {4, 3, 2};
  EXPECT_EQ(ShardOrder({S(0), S(0), S(0)}, mesh_shape, 0), (Ints{0, 1, 2}));
  EXPECT_EQ(ShardOrder({SS(0, 2), SS(0, 2), S(0)}, mesh_shape, 0), (Ints{2, 0, 1}));
  EXPECT_EQ(ShardOrder({SS(0, 6), SS(0, 2), S(0)}, mesh_shape, 0), (Ints{2, 1, 0}));
  EXPECT_EQ(ShardOrder({SS(0, 2), R, S(0)}, mesh_shape, 0), (Ints{2, 0}));
  EXPECT_EQ(ShardOrder({SS(0, 5), R, S(0)}, mesh_shape, 0), std::nullopt);
  EXPECT_EQ(ShardOrder({S(1), R, R}, mesh_shape, 0), Ints{});
}

TEST(ShardingTest, EveryIndexIsHeldExactlyOnce) {
  const std::vector<Placements> lists = {{S(0), S(0)}, {SS(0, 4), S(0)}, {SS(0, 3), S(0)}, {S(0), SS(0, 2)}};
  for (const Placements& placements : lists) {
    for (int64_t size = 0; size < 30; ++size) {
      Ints all;
      for (int64_t rank = 0; rank < 8; ++rank) {
        const Ints part = Indices(size, {2, 4}, {rank / 4, rank % 4}, placements);
        EXPECT_TRUE(std::is_sorted(part.begin(), part.end()));
        all.insert(all.end(), part.begin(), part.end());
      }
      std::sort(all.begin(), all.end());
      EXPECT_EQ(all, IndicesOf({0, size})) << ToString(placements);
    }
  }
}

TEST(ShardingTest, FullyShardOnTensorParallelParameters) {
  EXPECT_EQ(ComposeDataAndTensorParallel({S(0)}, {S(0)}, {2}), (Placements{SS(0, 2), S(0)}));
  EXPECT_EQ(ComposeDataAndTensorParallel({S(0)}, {S(1)}, {2}), (Placements{S(0), S(1)}));
  EXPECT_EQ(ComposeDataAndTensorParallel({S(0)}, {R}, {2}), (Placements{S(0), R}));
  EXPECT_EQ(ComposeDataAndTensorParallel({S(0)}, {S(0)}, {1}), (Placements{S(0), S(0)}));
  EXPECT_EQ(ComposeDataAndTensorParallel({R, S(0)}, {S(0)}, {2}), (Placements{R, SS(0, 2), S(0)}));
  EXPECT_EQ(ComposeDataAndTensorParallel({S(1)}, {S(1)}, {4}), (Placements{SS(1, 4), S(1)}));
}

TEST(ShardingTest, PlacementsAreNormalizedAndChecked) {
  EXPECT_EQ(NormalizePlacements({S(-1), R}, 2, 2), (Placements{S(1), R}));
  const auto kind_of = [](const Placements& placements) {
    try {
      NormalizePlacements(placements, 2, 2);
    } catch (const SemanticError& error) {
      return error.kind();
    }
    return std::string("no error");
  };
  EXPECT_EQ(kind_of({R}), "ValueError");
  EXPECT_EQ(kind_of({R, S(2)}), "IndexError");
  EXPECT_EQ(kind_of({S(-3), R}), "IndexError");
}

}  // namespace
}  // namespace shardcts::reference
