#include "storage/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts::reference {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(LayoutTest, OverlapIsWhatBothHave) {
  EXPECT_EQ(Overlap({{0, 0}, {3, 4}}, {{2, 1}, {5, 2}}), (Box{{2, 1}, {1, 2}}));
  EXPECT_EQ(Overlap({{0}, {3}}, {{3}, {2}}), std::nullopt);
  EXPECT_EQ(Overlap({{0}, {3}}, {{1}, {0}}), std::nullopt);
  EXPECT_EQ(Overlap({{}, {}}, {{}, {}}), (Box{{}, {}}));
}

TEST(LayoutTest, TilesHaveNoProblems) {
  EXPECT_THAT(TilingProblems({7, 3}, {{{0, 0}, {4, 3}}, {{4, 0}, {3, 1}}, {{4, 1}, {3, 2}}}), IsEmpty());
  EXPECT_THAT(TilingProblems({}, {{{}, {}}}), IsEmpty());
  EXPECT_THAT(TilingProblems({0, 3}, {}), IsEmpty());
  EXPECT_THAT(TilingProblems({2}, {{{0}, {2}}, {{2}, {0}}}), IsEmpty());
}

TEST(LayoutTest, GapsOverlapsAndExcessAreNamed) {
  EXPECT_THAT(TilingProblems({7}, {{{0}, {3}}, {{4}, {3}}}), ElementsAre("1 elements are in no chunk"));
  EXPECT_THAT(TilingProblems({7}, {{{0}, {4}}, {{3}, {4}}}), ElementsAre("chunks [0:4] and [3:7] overlap"));
  EXPECT_THAT(TilingProblems({7}, {{{0}, {8}}}), ElementsAre(HasSubstr("leaves the tensor in dimension 0")));
  EXPECT_THAT(TilingProblems({7, 1}, {{{0}, {7}}}), ElementsAre(HasSubstr("another number of dimensions")));
  EXPECT_THAT(TilingProblems({}, {{{}, {}}, {{}, {}}}), ElementsAre(HasSubstr("overlap")));
  EXPECT_THAT(TilingProblems({}, {}), ElementsAre("1 elements are in no chunk"));
}

TEST(LayoutTest, NumbersThatOverflowAreRefused) {
  for (const Box& box : {Box{{INT64_MAX}, {1}}, Box{{1}, {INT64_MAX}}, Box{{-1}, {1}}, Box{{0}, {-1}},
                         Box{{INT64_MIN}, {INT64_MIN}}}) {
    EXPECT_THAT(TilingProblems({7}, {box}), ElementsAre(HasSubstr("leaves the tensor"))) << BoxText(box);
  }
}

TEST(LayoutTest, ReadsCoverEachWantedElementOnce) {
  // Every cut of 0 … 9 rows into chunks of `saved`, read in chunks of `wanted`: by counting elements.
  for (int64_t n = 0; n < 10; ++n) {
    for (int64_t saved = 1; saved < 5; ++saved) {
      for (int64_t wanted = 1; wanted < 5; ++wanted) {
        const auto cut = [n](int64_t rows) {
          std::vector<Box> boxes;
          for (int64_t begin = 0; begin < n; begin += rows) boxes.push_back({{begin}, {std::min(rows, n - begin)}});
          return boxes;
        };
        std::vector<int> seen(static_cast<size_t>(n));
        for (const Read& read : PlanReads(cut(saved), cut(wanted))) {
          EXPECT_EQ(Overlap(cut(saved)[read.saved], cut(wanted)[read.wanted]), read.box);
          for (int64_t i = 0; i < read.box.sizes[0]; ++i) ++seen[static_cast<size_t>(read.box.offsets[0] + i)];
        }
        EXPECT_EQ(seen, std::vector<int>(static_cast<size_t>(n), 1)) << n << " " << saved << " " << wanted;
      }
    }
  }
}

TEST(LayoutTest, ReadsOfAScalarAndOfNothing) {
  EXPECT_THAT(PlanReads({{{}, {}}}, {{{}, {}}}), ElementsAre(Read{0, 0, {}}));
  EXPECT_THAT(PlanReads({{{0}, {3}}}, {{{3}, {0}}}), IsEmpty());
}

// 4,096 ranks by 4,096: far beyond what pairs could be compared one by one in the time of a test.
TEST(LayoutTest, ManyChunksArePlannedInTime) {
  std::vector<Box> rows, columns;
  for (int64_t i = 0; i < 4096; ++i) {
    rows.push_back({{i * 2, 0}, {2, 8192}});
    columns.push_back({{0, i * 2}, {8192, 2}});
  }
  EXPECT_THAT(TilingProblems({8192, 8192}, rows), IsEmpty());
  EXPECT_THAT(TilingProblems({8192, 8192}, columns), IsEmpty());
  EXPECT_EQ(PlanReads(columns, columns).size(), 4096u);
}

}  // namespace
}  // namespace shardcts::reference
