// Groups split from others: who is in them, and that their traffic meets no other's.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "comm/conformance/coded_tensors.h"
#include "comm/conformance/ranks.h"

namespace shardcts {
namespace {

// The sum of the group's global ranks, by communication.
int64_t SumOfRanks(Communicator& group) {
  at::Tensor sum = at::full({1}, group.global_ranks()[group.rank()], at::kLong);
  group.AllReduce(sum, ReduceOp::kSum);
  return sum.item<int64_t>();
}

int64_t Sum(const std::vector<int64_t>& numbers) { return std::accumulate(numbers.begin(), numbers.end(), int64_t{0}); }

TEST(GroupsTest, SplitOrdersByKeyAndLeavesOut) {
  OnEveryRank([](Communicator& world) {
    // Odd ranks form no group; even ones one in reverse order.
    const int rank = world.rank();
    std::unique_ptr<Communicator> group = world.Split(rank % 2 == 0 ? 7 : -1, -rank);
    ASSERT_EQ(group != nullptr, rank % 2 == 0);
    if (!group) return;
    std::vector<int64_t> ranks;
    for (int r = (world.size() - 1) / 2 * 2; r >= 0; r -= 2) ranks.push_back(r);
    EXPECT_EQ(group->global_ranks(), ranks);
    EXPECT_EQ(group->global_ranks()[group->rank()], rank);
    EXPECT_EQ(group->backend(), BackendUnderTest());
    EXPECT_EQ(SumOfRanks(*group), Sum(ranks));
  });
}

TEST(GroupsTest, EqualKeysKeepTheOrderOfRanks) {
  OnEveryRank([](Communicator& world) { EXPECT_EQ(world.Split(0, 5)->global_ranks(), world.global_ranks()); });
}

TEST(GroupsTest, GroupWithoutRankZero) {
  OnEveryRank([](Communicator& world) {
    if (world.size() == 1) GTEST_SKIP() << "needs a rank that is not 0";
    std::unique_ptr<Communicator> group = world.Split(world.rank() == 0 ? -1 : 1, world.rank());
    ASSERT_EQ(group == nullptr, world.rank() == 0);
    if (!group) return;
    EXPECT_EQ(group->rank(), world.rank() - 1);
    EXPECT_EQ(group->size(), world.size() - 1);
    EXPECT_EQ(SumOfRanks(*group), world.size() * (world.size() - 1) / 2);
    at::Tensor from_root = Coded(world.rank(), 3, at::kFloat);
    group->Broadcast(from_root, 0);
    EXPECT_TRUE(Same(from_root, Coded(1, 3, at::kFloat)));
    std::vector<at::Tensor> parts(group->rank() == 0 ? group->size() : 0);
    for (at::Tensor& part : parts) part = at::empty({1}, at::kLong);
    group->Gather(parts, at::full({1}, world.rank(), at::kLong), 0);
    for (size_t r = 0; r < parts.size(); ++r) EXPECT_EQ(parts[r].item<int64_t>(), static_cast<int64_t>(r) + 1);
  });
}

TEST(GroupsTest, RowsAndColumnsOfAMesh) {
  OnEveryRank([](Communicator& world) {
    const int columns = world.size() % 2 == 0 ? 2 : 1;
    const int row = world.rank() / columns, column = world.rank() % columns;
    std::unique_ptr<Communicator> in_row = world.Split(row, column), in_column = world.Split(column, row);
    EXPECT_EQ(SumOfRanks(*in_row), Sum(in_row->global_ranks()));
    EXPECT_EQ(SumOfRanks(*in_column), Sum(in_column->global_ranks()));
    EXPECT_EQ(in_row->size() * in_column->size(), world.size());
    // A group of a group: each rank alone.
    EXPECT_EQ(SumOfRanks(*in_row->Split(column, 0)), world.rank());
  });
}

TEST(GroupsTest, GroupsDoDifferentThingsAtTheSameTime) {
  OnEveryRank([](Communicator& world) {
    const bool even = world.rank() % 2 == 0;
    std::unique_ptr<Communicator> group = world.Split(even ? 0 : 1, world.rank());
    for (int i = 0; i < (even ? 20 : 3); ++i) {
      at::Tensor gathered = at::empty({group->size(), 5}, at::kInt);
      if (even) {
        EXPECT_EQ(SumOfRanks(*group), Sum(group->global_ranks()));
      } else {
        group->AllGatherInto(gathered, Coded(world.rank(), 5, at::kInt));
        for (int r = 0; r < group->size(); ++r) EXPECT_TRUE(Same(gathered[r], Coded(2 * r + 1, 5, at::kInt)));
      }
    }
    EXPECT_EQ(SumOfRanks(world), Sum(world.global_ranks()));
  });
}

TEST(GroupsTest, CallsInTwoGroupsAreUnderWayAtOnce) {
  OnEveryRank([](Communicator& world) {
    // Pairs (0,1), (2,3), … and (1,2), (3,4), …: a rank that has left one group is waited for in the next.
    const int rank = world.rank(), size = world.size();
    std::unique_ptr<Communicator> first = world.Split(rank / 2, rank), second = world.Split((rank + 1) / 2, rank);
    for (int round = 0; round < 10; ++round) {
      at::Tensor value = at::full({1000}, rank, at::kLong);
      first->AllReduce(value, ReduceOp::kMax);
      second->AllReduce(value, ReduceOp::kMax);
      const int reached = (rank + 1) / 2 * 2 < size ? (rank + 1) / 2 * 2 : rank;  // the larger rank in `second`
      EXPECT_TRUE(Same(value, at::full({1000}, std::min(reached | 1, size - 1), at::kLong))) << value[0];
    }
  });
}

TEST(GroupsTest, ControlPlaneDoesNotMeetOtherTraffic) {
  OnEveryRank([](Communicator& world) {
    std::unique_ptr<Communicator> control = world.Split(0, world.rank());
    at::Tensor a = at::full({1}, 1.0), b = at::full({1}, 2.0);
    control->AllReduce(a, ReduceOp::kSum);
    world.AllReduce(b, ReduceOp::kSum);
    EXPECT_EQ(a.item<float>(), world.size());
    EXPECT_EQ(b.item<float>(), 2 * world.size());
  });
}

TEST(GroupsTest, ManyGroupsOneAfterTheOther) {
  OnEveryRank([](Communicator& world) {
    for (int i = 0; i < 30; ++i) EXPECT_EQ(SumOfRanks(*world.Split(0, world.rank())), Sum(world.global_ranks()));
  });
}

}  // namespace
}  // namespace shardcts
