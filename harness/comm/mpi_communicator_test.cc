#include "comm/mpi_communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "comm/rank_test_main.h"

namespace shardcts {
namespace {

const std::vector<at::ScalarType> kDtypes = {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble, at::kChar,
                                             at::kShort, at::kInt, at::kLong, at::kByte, at::kBool};

int Rank() { return World().rank(); }
int Size() { return World().size(); }

// Element i of rank r is (10 * r + i) % 17, as bool (… % 2).
at::Tensor Coded(int rank, int64_t count, at::ScalarType type) {
  const at::Tensor code = (at::arange(count, at::kLong) + 10 * rank) % (type == at::kBool ? 2 : 17);
  return code.to(type);
}

bool Same(const at::Tensor& a, const at::Tensor& b) { return a.scalar_type() == b.scalar_type() && at::equal(a, b); }

// The closed form of a reduction over all ranks' Coded values, in double.
at::Tensor Reduced(int64_t count, at::ScalarType type, ReduceOp op) {
  std::vector<at::Tensor> parts;
  for (int r = 0; r < Size(); ++r) parts.push_back(Coded(r, count, type).to(at::kDouble));
  const at::Tensor all = at::stack(parts);
  switch (op) {
    case ReduceOp::kSum: return all.sum(0);
    case ReduceOp::kAvg: return all.mean(0);
    case ReduceOp::kMin: return std::get<0>(all.min(0));
    case ReduceOp::kMax: return std::get<0>(all.max(0));
    case ReduceOp::kProduct: return all.prod(0);
  }
  return {};
}

TEST(MpiCommunicatorTest, KnowsItsGroup) {
  EXPECT_EQ(World().backend(), "mpi");
  ASSERT_EQ(World().global_ranks().size(), static_cast<size_t>(Size()));
  EXPECT_EQ(World().global_ranks()[Rank()], Rank());
  EXPECT_EQ(LocalRank(World()), Rank());
}

TEST(MpiCommunicatorTest, AllGatherIntoKeepsRankOrderForEveryDtype) {
  for (at::ScalarType type : kDtypes) {
    at::Tensor output = at::empty({Size(), 5}, type);
    World().AllGatherInto(output, Coded(Rank(), 5, type));
    for (int r = 0; r < Size(); ++r) EXPECT_TRUE(Same(output[r], Coded(r, 5, type))) << type << " from " << r;
  }
}

TEST(MpiCommunicatorTest, AllGatherVTakesUnevenAndEmptyShapes) {
  const auto rows = [](int rank) { return int64_t{rank == 1 ? 0 : rank + 1}; };
  std::vector<at::Tensor> outputs;
  for (int r = 0; r < Size(); ++r) outputs.push_back(at::empty({rows(r), 3}));
  World().AllGatherV(outputs, Coded(Rank(), rows(Rank()) * 3, at::kFloat).view({rows(Rank()), 3}));
  for (int r = 0; r < Size(); ++r) {
    EXPECT_TRUE(Same(outputs[r], Coded(r, rows(r) * 3, at::kFloat).view({rows(r), 3}))) << "from " << r;
  }
}

TEST(MpiCommunicatorTest, AllReduceOfEveryDtypeAndOperation) {
  for (at::ScalarType type : kDtypes) {
    for (ReduceOp op : {ReduceOp::kSum, ReduceOp::kAvg, ReduceOp::kMin, ReduceOp::kMax, ReduceOp::kProduct}) {
      if (op == ReduceOp::kAvg && !c10::isFloatingType(type)) continue;
      at::Tensor tensor = Coded(Rank(), 7, type);
      World().AllReduce(tensor, op);
      EXPECT_TRUE(Same(tensor, Reduced(7, type, op).to(type)))
          << type << " operation " << static_cast<int>(op) << "\n" << tensor;
    }
  }
}

TEST(MpiCommunicatorTest, ReduceScatterGivesEachRankItsChunk) {
  for (at::ScalarType type : kDtypes) {
    at::Tensor output = at::empty({2, 3}, type);
    World().ReduceScatter(output, Coded(Rank(), Size() * 6, type), ReduceOp::kSum);
    const at::Tensor expected = Reduced(Size() * 6, type, ReduceOp::kSum).narrow(0, Rank() * 6, 6);
    EXPECT_TRUE(Same(output, expected.to(type).view({2, 3}))) << type;
  }
}

TEST(MpiCommunicatorTest, HalfTypesAreRoundedOnce) {
  // 256 + 1 is not a bfloat16 (8 bits): adding the ones one by one to 256 in bfloat16 would lose all of them.
  at::Tensor tensor = at::full({3}, Rank() == 0 ? 256.0 : 1.0, at::kBFloat16);
  World().AllReduce(tensor, ReduceOp::kSum);
  EXPECT_TRUE(Same(tensor, at::full({3}, 256.0 + Size() - 1).to(at::kBFloat16)));
}

TEST(MpiCommunicatorTest, AverageOfIntegersIsRefused) {
  EXPECT_THROW(World().AllReduce(at::ones({2}, at::kInt), ReduceOp::kAvg), std::invalid_argument);
}

TEST(MpiCommunicatorTest, BroadcastGatherScatterFromEveryRoot) {
  for (int root = 0; root < Size(); ++root) {
    at::Tensor tensor = Coded(Rank(), 4, at::kBFloat16);
    World().Broadcast(tensor, root);
    EXPECT_TRUE(Same(tensor, Coded(root, 4, at::kBFloat16)));

    std::vector<at::Tensor> parts;
    for (int r = 0; Rank() == root && r < Size(); ++r) parts.push_back(at::empty({r}, at::kShort));
    World().Gather(parts, Coded(Rank(), Rank(), at::kShort), root);
    for (size_t r = 0; r < parts.size(); ++r) EXPECT_TRUE(Same(parts[r], Coded(r, r, at::kShort)));

    at::Tensor back = at::zeros({Rank()}, at::kShort);
    World().Scatter(back, parts, root);
    EXPECT_TRUE(Same(back, Coded(Rank(), Rank(), at::kShort)));
  }
}

TEST(MpiCommunicatorTest, SendAndReceiveAroundTheRing) {
  if (Size() == 1) GTEST_SKIP() << "needs a peer";
  const int next = (Rank() + 1) % Size(), previous = (Rank() + Size() - 1) % Size();
  at::Tensor received = at::empty({6});
  if (Rank() % 2 == 0 && Rank() != Size() - 1) {
    World().Send(Coded(Rank(), 6, at::kFloat), next, 3);
    World().Receive(received, previous, 3);
  } else {
    World().Receive(received, previous, 3);
    World().Send(Coded(Rank(), 6, at::kFloat), next, 3);
  }
  EXPECT_TRUE(Same(received, Coded(previous, 6, at::kFloat)));
}

TEST(MpiCommunicatorTest, TensorsWithoutElements) {
  at::Tensor empty = at::empty({0, 3});
  at::Tensor gathered = at::empty({0, 3});
  World().AllGatherInto(gathered, empty);
  World().AllReduce(empty, ReduceOp::kSum);
  World().ReduceScatter(gathered, empty, ReduceOp::kSum);
  World().Broadcast(empty, 0);
  World().Barrier();
}

TEST(MpiCommunicatorTest, BytesOfAnyLength) {
  const auto text = [](int rank) { return std::string(rank * 1000, static_cast<char>('a' + rank)) + '\0'; };
  const std::vector<std::string> all = World().AllGatherBytes(text(Rank()));
  ASSERT_EQ(all.size(), static_cast<size_t>(Size()));
  for (int r = 0; r < Size(); ++r) EXPECT_EQ(all[r], text(r));
  EXPECT_EQ(World().BroadcastBytes(text(Rank()), Size() - 1), text(Size() - 1));
  EXPECT_EQ(World().AllGatherBytes(""), std::vector<std::string>(Size()));
}

TEST(MpiCommunicatorTest, SplitOrdersByKeyAndLeavesOut) {
  // Odd ranks form no group; even ones one in reverse order.
  std::unique_ptr<Communicator> group = World().Split(Rank() % 2 == 0 ? 7 : -1, -Rank());
  ASSERT_EQ(group != nullptr, Rank() % 2 == 0);
  if (!group) return;
  std::vector<int64_t> ranks;
  for (int r = (Size() - 1) / 2 * 2; r >= 0; r -= 2) ranks.push_back(r);
  EXPECT_EQ(group->global_ranks(), ranks);
  EXPECT_EQ(group->global_ranks()[group->rank()], Rank());
  at::Tensor sum = at::full({1}, Rank(), at::kLong);
  group->AllReduce(sum, ReduceOp::kSum);
  EXPECT_EQ(sum.item<int64_t>(), std::accumulate(ranks.begin(), ranks.end(), int64_t{0}));
}

TEST(MpiCommunicatorTest, ControlPlaneDoesNotMeetOtherTraffic) {
  std::unique_ptr<Communicator> control = World().Split(0, Rank());
  at::Tensor a = at::full({1}, 1.0), b = at::full({1}, 2.0);
  control->AllReduce(a, ReduceOp::kSum);
  World().AllReduce(b, ReduceOp::kSum);
  EXPECT_EQ(a.item<float>(), Size());
  EXPECT_EQ(b.item<float>(), 2 * Size());
}

TEST(MpiCommunicatorTest, WrongArgumentsAreRefusedBeforeAnythingIsSent) {
  EXPECT_THROW(World().AllGatherInto(at::empty({Size() + 1}), at::empty({1})), std::invalid_argument);
  EXPECT_THROW(World().AllReduce(at::empty({4, 4}).t().narrow(0, 0, 2), ReduceOp::kSum), std::invalid_argument);
  EXPECT_THROW(World().Broadcast(at::Tensor(), 0), std::invalid_argument);
  World().Barrier();
}

}  // namespace
}  // namespace shardcts
