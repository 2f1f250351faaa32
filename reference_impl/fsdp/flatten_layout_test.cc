// The arithmetic of flat parameters against PyTorch's rules, worked out by hand or element by element.
#include "fsdp/flatten_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts::reference {
namespace {

using ::testing::ElementsAre;

TEST(FlattenLayoutTest, ParametersFollowEachOtherWithoutAlignment) {
  const FlattenLayout layout = LayOut({20, 5}, 0, 4, 4);  // Linear(4, 5) over 4 ranks
  EXPECT_THAT(layout.parameters, ElementsAre(FlatRange{0, 20}, FlatRange{20, 5}));
  EXPECT_EQ(layout.numel, 25);
  EXPECT_EQ(layout.ShardNumel(), 7);
  EXPECT_EQ(layout.PaddedNumel(), 28);
  EXPECT_EQ(layout.PaddingOf(2), 0);
  EXPECT_EQ(layout.PaddingOf(3), 3);
}

TEST(FlattenLayoutTest, AlignmentGoesBetweenParametersAndTheTotalDividesByRanks) {
  const FlattenLayout layout = LayOut({10, 10}, 4, 2, 2);  // a BatchNorm1d(10) in float32
  EXPECT_THAT(layout.parameters, ElementsAre(FlatRange{0, 10}, FlatRange{12, 10}));
  EXPECT_THAT(layout.padding, ElementsAre(FlatRange{10, 2}));
  EXPECT_EQ(layout.numel, 22);
  EXPECT_EQ(layout.SliceOf(0, 0).numel, 10);
  EXPECT_EQ(layout.SliceOf(0, 1).numel, 0);
  EXPECT_EQ(layout.SliceOf(1, 0).numel, 0);
  EXPECT_EQ(layout.SliceOf(1, 1), (FlatSlice{0, 1, 10}));
  EXPECT_THAT(LayOut({3, 2}, 4, 4, 4).padding, ElementsAre(FlatRange{3, 1}, FlatRange{6, 2}));
  EXPECT_EQ(LayOut({13}, 4, /*ranks=*/1, /*group_size=*/7).numel, 14);  // NO_SHARD
}

TEST(FlattenLayoutTest, RanksBehindTheEndHoldOnlyPadding) {
  const FlattenLayout one = LayOut({1}, 0, 2, 2);
  EXPECT_EQ(one.ShardNumel(), 1);
  EXPECT_EQ(one.PaddingOf(0), 0);
  EXPECT_EQ(one.PaddingOf(1), 1);
  const FlattenLayout five = LayOut({5}, 0, 4, 4);  // 2, 2, 1, 0
  EXPECT_EQ(five.Owned(2).numel, 1);
  EXPECT_EQ(five.Owned(3).numel, 0);
  EXPECT_EQ(five.SliceOf(0, 3).numel, 0);
}

// Every element of every parameter lies in exactly one shard, in order.
TEST(FlattenLayoutTest, SlicesPartitionEveryParameter) {
  for (int64_t ranks : {1, 2, 3, 4, 8}) {
    for (int64_t aligned : {0, 4, 8}) {
      const std::vector<int64_t> numels = {13, 1, 100, 7, 2, 31};
      const FlattenLayout layout = LayOut(numels, aligned, ranks, ranks);
      for (size_t i = 0; i < numels.size(); ++i) {
        int64_t next = 0;
        for (int64_t rank = 0; rank < ranks; ++rank) {
          const FlatSlice slice = layout.SliceOf(i, rank);
          if (slice.numel == 0) continue;
          EXPECT_EQ(slice.begin_in_parameter, next);
          EXPECT_EQ(rank * layout.ShardNumel() + slice.begin_in_shard, layout.parameters[i].begin + next);
          next += slice.numel;
        }
        EXPECT_EQ(next, numels[i]) << "parameter " << i << " over " << ranks << " ranks, aligned to " << aligned;
      }
    }
  }
}

}  // namespace
}  // namespace shardcts::reference
