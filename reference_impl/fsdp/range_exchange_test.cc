// Elements are called by their index: element i has the value i.
#include "fsdp/range_exchange.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <random>

#include "comm/testing/rank_tests.h"

namespace shardcts::reference {
namespace {

constexpr double kUntouched = -1;

std::vector<at::Tensor> Elements(const std::vector<FlatRange>& ranges) {
  std::vector<at::Tensor> tensors;
  for (const FlatRange& range : ranges) tensors.push_back(at::arange(range.begin, range.end(), at::kFloat));
  return tensors;
}

std::vector<at::Tensor> Exchanged(Communicator& group, const RangesByRank& have, const RangesByRank& want) {
  const std::vector<at::Tensor> from = Elements(have[group.rank()]);
  std::vector<at::Tensor> to;
  for (const FlatRange& range : want[group.rank()]) to.push_back(at::full({range.numel}, kUntouched, at::kFloat));
  ExchangeRanges(group, have, want, from, to);
  return to;
}

void ExpectEachRankGetsWhatItWants(Communicator& group, const RangesByRank& have, const RangesByRank& want) {
  const std::vector<at::Tensor> actual = Exchanged(group, have, want);
  const std::vector<at::Tensor> expected = Elements(want[group.rank()]);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(at::equal(actual[i], expected[i])) << "run " << i;
}

// `numel` elements in runs of these sizes, one for each rank; a missing size is 0, the last run takes the rest.
RangesByRank OneRunEach(const Communicator& group, int64_t numel, const std::vector<int64_t>& sizes) {
  RangesByRank ranges;
  int64_t begin = 0;
  for (int r = 0; r < group.size(); ++r) {
    const bool is_last = r + 1 == group.size();
    const int64_t size = is_last ? numel - begin : static_cast<size_t>(r) < sizes.size() ? sizes[r] : 0;
    ranges.push_back({{begin, size}});
    begin += size;
  }
  return ranges;
}

TEST(RangeExchangeTest, UnevenRunsComeFromWhereTheyAre) {
  ExpectEachRankGetsWhatItWants(World(), OneRunEach(World(), 20, {7, 1, 9}), OneRunEach(World(), 20, {2, 11, 3}));
}

TEST(RangeExchangeTest, WhatIsWantedWhereItIsIsCopied) {
  const RangesByRank same = OneRunEach(World(), 20, {5, 5, 5});
  ExpectEachRankGetsWhatItWants(World(), same, same);
}

TEST(RangeExchangeTest, ARankMayHaveNothingAndWantAll) {
  const RangesByRank on_the_last = OneRunEach(World(), 9, {0, 0, 0});
  RangesByRank on_the_first(World().size());
  on_the_first[0] = {{0, 9}};
  ExpectEachRankGetsWhatItWants(World(), on_the_last, on_the_first);
  ExpectEachRankGetsWhatItWants(World(), on_the_first, on_the_last);
  ExpectEachRankGetsWhatItWants(World(), on_the_first, RangesByRank(World().size(), {{0, 9}}));
  ExpectEachRankGetsWhatItWants(World(), on_the_first, RangesByRank(World().size()));
}

// As the alignment between the parameters of a flat parameter, and the padding behind them.
TEST(RangeExchangeTest, WhatNobodyHasStaysAsItIs) {
  RangesByRank have(World().size());
  have[World().size() - 1] = {{0, 3}, {5, 3}};
  const RangesByRank want(World().size(), {{1, 9}});
  const at::Tensor actual = Exchanged(World(), have, want).front();
  EXPECT_TRUE(at::equal(actual, at::tensor({1., 2., kUntouched, kUntouched, 5., 6., 7., kUntouched, kUntouched}, at::kFloat)))
      << actual;
}

TEST(RangeExchangeTest, OfAnElementThatIsThereTwiceTheLastCounts) {
  RangesByRank have(World().size());
  have[0] = {{0, 4}, {0, 4}};
  const RangesByRank want(World().size(), {{0, 4}});
  const std::vector<at::Tensor> from{at::zeros({4}), at::ones({4})};
  const at::Tensor to = at::full({4}, kUntouched);
  const bool is_first = World().rank() == 0;
  ExchangeRanges(World(), have, want, is_first ? std::span(from) : std::span<const at::Tensor>(), {&to, 1});
  EXPECT_TRUE(at::equal(to, at::ones({4}))) << to;
}

TEST(RangeExchangeTest, GroupsWithoutTheFirstRank) {
  const auto group = World().Split(World().rank() == 0 ? 1 : 0, World().rank());
  ExpectEachRankGetsWhatItWants(*group, OneRunEach(*group, 11, {6, 1}), OneRunEach(*group, 11, {3, 3}));
}

// Larger than what a message carries without its receiver.
TEST(RangeExchangeTest, LargeRunsBothWays) {
  RangesByRank have = OneRunEach(World(), 4 << 20, std::vector<int64_t>(World().size(), (4 << 20) / World().size()));
  RangesByRank want = have;
  std::reverse(want.begin(), want.end());
  ExpectEachRankGetsWhatItWants(World(), have, want);
}

TEST(RangeExchangeTest, RandomCuts) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);  // the same on all ranks
    const int64_t numel = 1 + random() % 40;
    const auto cut = [&] {
      RangesByRank ranges(World().size());
      for (int64_t begin = 0; begin < numel;) {
        const int64_t size = std::min<int64_t>(1 + random() % 7, numel - begin);
        ranges[random() % World().size()].push_back({begin, size});
        begin += size;
      }
      return ranges;
    };
    const RangesByRank have = cut();
    const RangesByRank want = cut();
    ExpectEachRankGetsWhatItWants(World(), have, want);
  }
}

}  // namespace
}  // namespace shardcts::reference
