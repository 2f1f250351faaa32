// The local backend passes the conformance tests, and what it promises beyond them.
#include "comm/local_communicator.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/conformance/ranks.h"
#include "comm/group_calls.h"
#include "comm/testing/rank_tests.h"

namespace shardcts {

void RunOnRanks(const std::function<void(Communicator& world)>& body) { body(World()); }

std::string BackendUnderTest() { return "local"; }

namespace {

TEST(LocalCommunicatorTest, LocalRankCountsTheRanksOfThisHost) { EXPECT_EQ(LocalRank(World()), World().rank()); }

TEST(LocalCommunicatorTest, HalfTypesAreRoundedOnce) {
  // 256 + 1 is not a bfloat16 (8 bits): adding the ones one by one to 256 in bfloat16 would lose all of them.
  for (const int64_t count : {3, 100'001}) {
    at::Tensor tensor = at::full({count}, World().rank() == 0 ? 256.0 : 1.0, at::kBFloat16);
    World().AllReduce(tensor, ReduceOp::kSum);
    EXPECT_TRUE(at::equal(tensor, at::full({count}, 256.0 + World().size() - 1).to(at::kBFloat16)));
  }
}

TEST(LocalCommunicatorTest, ReductionsAddInRankOrder) {
  if (World().size() != 3) GTEST_SKIP() << "for three ranks";
  // In float32 (1e8 + 1) + 1 = 1e8, but 1 + 1 + 1e8 = 100000002: the order shows.
  for (const int64_t count : {2, 100'001}) {
    at::Tensor tensor = at::full({count}, World().rank() == 0 ? 1e8 : 1.0);
    World().AllReduce(tensor, ReduceOp::kSum);
    EXPECT_TRUE(at::equal(tensor, at::full({count}, 1e8)));
    at::Tensor chunk = at::empty({count});
    World().ReduceScatter(chunk, at::full({3 * count}, World().rank() == 2 ? 1e8 : 1.0), ReduceOp::kSum);
    EXPECT_TRUE(at::equal(chunk, at::full({count}, 100000002.0)));
  }
}

TEST(LocalCommunicatorTest, TensorMayBeChangedAsSoonAsItIsSent) {
  if (World().size() == 1) GTEST_SKIP() << "needs a peer";
  at::Tensor tensor = at::ones({1000});
  if (World().rank() == 0) {
    World().Send(tensor, 1, 0);
    tensor.zero_();
  }
  World().Barrier();
  if (World().rank() != 1) return;
  World().Receive(tensor.zero_(), 0, 0);
  EXPECT_TRUE(at::equal(tensor, at::ones({1000})));
}

TEST(LocalCommunicatorTest, ManySmallCallsOfGroupsThatOverlap) {
  const int rank = World().rank();
  const std::unique_ptr<Communicator> row = World().Split(rank / 2, rank);
  const std::unique_ptr<Communicator> column = World().Split(rank % 2, rank);
  for (int i = 0; i < 500; ++i) {
    at::Tensor sum = at::full({1}, 1, at::kLong);
    row->AllReduce(sum, ReduceOp::kSum);
    column->AllReduce(sum, ReduceOp::kSum);
    int64_t expected = 0;
    for (const int64_t peer : column->global_ranks()) expected += peer / 2 * 2 + 1 < World().size() ? 2 : 1;
    ASSERT_EQ(sum.item<int64_t>(), expected) << i;
  }
}

}  // namespace
}  // namespace shardcts
