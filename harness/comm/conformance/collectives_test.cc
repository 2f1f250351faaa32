// Each call by itself, on all ranks: values, dtypes, sizes, arguments that are refused.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/conformance/coded_tensors.h"
#include "comm/conformance/ranks.h"

namespace shardcts {

void OnEveryRank(const std::function<void(Communicator& world)>& body) {
  RunOnRanks([&body](Communicator& world) {
    world.SetDeadline(std::chrono::steady_clock::now() + std::chrono::seconds(30));
    body(world);
  });
}

namespace {

constexpr ReduceOp kReduceOps[] = {ReduceOp::kSum, ReduceOp::kAvg, ReduceOp::kMin, ReduceOp::kMax, ReduceOp::kProduct};

TEST(CollectivesTest, KnowsItsGroup) {
  OnEveryRank([](Communicator& world) {
    EXPECT_EQ(world.backend(), BackendUnderTest());
    ASSERT_EQ(world.global_ranks().size(), static_cast<size_t>(world.size()));
    for (int r = 0; r < world.size(); ++r) EXPECT_EQ(world.global_ranks()[r], r);
  });
}

TEST(CollectivesTest, AllGatherIntoKeepsRankOrderForEveryDtype) {
  OnEveryRank([](Communicator& world) {
    for (at::ScalarType type : MovableDtypes()) {
      at::Tensor output = at::empty({world.size(), 5}, type);
      world.AllGatherInto(output, Coded(world.rank(), 5, type));
      for (int r = 0; r < world.size(); ++r) EXPECT_TRUE(Same(output[r], Coded(r, 5, type))) << type << " from " << r;
    }
  });
}

TEST(CollectivesTest, AllGatherVTakesUnevenAndEmptyShapesOfEveryDtype) {
  const auto rows = [](int rank) { return int64_t{rank == 1 ? 0 : rank + 1}; };
  OnEveryRank([&](Communicator& world) {
    for (at::ScalarType type : MovableDtypes()) {
      const auto part = [&](int rank) { return Coded(rank, rows(rank) * 3, type).view({rows(rank), 3}); };
      std::vector<at::Tensor> outputs;
      for (int r = 0; r < world.size(); ++r) outputs.push_back(at::empty({rows(r), 3}, type));
      world.AllGatherV(outputs, part(world.rank()));
      for (int r = 0; r < world.size(); ++r) EXPECT_TRUE(Same(outputs[r], part(r))) << type << " from " << r;
    }
  });
}

TEST(CollectivesTest, AllReduceOfEveryDtypeAndOperation) {
  OnEveryRank([](Communicator& world) {
    for (at::ScalarType type : ReducibleDtypes()) {
      for (ReduceOp op : kReduceOps) {
        if (op == ReduceOp::kAvg && !c10::isFloatingType(type)) continue;
        at::Tensor tensor = Addend(world.rank(), world.size(), 7, type, op);
        world.AllReduce(tensor, op);
        EXPECT_TRUE(Same(tensor, Reduced(world.size(), 7, type, op)))
            << type << " operation " << static_cast<int>(op) << "\n"
            << tensor;
      }
    }
  });
}

TEST(CollectivesTest, ReduceScatterOfEveryDtypeAndOperationGivesEachRankItsChunk) {
  OnEveryRank([](Communicator& world) {
    const int64_t count = world.size() * 6;
    for (at::ScalarType type : ReducibleDtypes()) {
      for (ReduceOp op : kReduceOps) {
        if (op == ReduceOp::kAvg && !c10::isFloatingType(type)) continue;
        at::Tensor output = at::empty({2, 3}, type);
        world.ReduceScatter(output, Addend(world.rank(), world.size(), count, type, op), op);
        const at::Tensor expected = Reduced(world.size(), count, type, op).narrow(0, world.rank() * 6, 6);
        EXPECT_TRUE(Same(output, expected.view({2, 3}))) << type << " operation " << static_cast<int>(op);
      }
    }
  });
}

TEST(CollectivesTest, BroadcastOfEveryDtypeFromEveryRoot) {
  OnEveryRank([](Communicator& world) {
    for (int root = 0; root < world.size(); ++root) {
      for (at::ScalarType type : MovableDtypes()) {
        at::Tensor tensor = Coded(world.rank(), 4, type);
        world.Broadcast(tensor, root);
        EXPECT_TRUE(Same(tensor, Coded(root, 4, type))) << type << " from " << root;
      }
    }
  });
}

TEST(CollectivesTest, GatherAndScatterOfUnevenSizesAtEveryRoot) {
  OnEveryRank([](Communicator& world) {
    const int rank = world.rank();
    for (int root = 0; root < world.size(); ++root) {
      std::vector<at::Tensor> parts;
      for (int r = 0; rank == root && r < world.size(); ++r) parts.push_back(at::empty({r}, at::kShort));
      world.Gather(parts, Coded(rank, rank, at::kShort), root);
      for (size_t r = 0; r < parts.size(); ++r) EXPECT_TRUE(Same(parts[r], Coded(r, r, at::kShort)));

      at::Tensor back = at::zeros({rank}, at::kShort);
      world.Scatter(back, parts, root);
      EXPECT_TRUE(Same(back, Coded(rank, rank, at::kShort)));
    }
  });
}

TEST(CollectivesTest, SendAndReceiveAroundTheRingInTheOrderSent) {
  OnEveryRank([](Communicator& world) {
    const int rank = world.rank(), size = world.size();
    if (size == 1) GTEST_SKIP() << "needs a peer";
    const int next = (rank + 1) % size, previous = (rank + size - 1) % size;
    at::Tensor received = at::empty({6}), received_empty = at::empty({0}), received_last = at::empty({2}, at::kBool);
    const auto send = [&] {
      world.Send(Coded(rank, 6, at::kFloat), next, 3);
      world.Send(at::empty({0}), next, 4);
      world.Send(Coded(rank, 2, at::kBool), next, 5);
    };
    if (rank != 0) send();
    world.Receive(received, previous, 3);
    world.Receive(received_empty, previous, 4);
    world.Receive(received_last, previous, 5);
    if (rank == 0) send();
    EXPECT_TRUE(Same(received, Coded(previous, 6, at::kFloat)));
    EXPECT_TRUE(Same(received_last, Coded(previous, 2, at::kBool)));
  });
}

TEST(CollectivesTest, TensorsWithoutElements) {
  OnEveryRank([](Communicator& world) {
    at::Tensor empty = at::empty({0, 3}), gathered = at::empty({0, 3});
    std::vector<at::Tensor> all(world.size(), gathered), at_root(world.rank() == 0 ? world.size() : 0, gathered);
    world.AllGatherInto(gathered, empty);
    world.AllGatherV(all, empty);
    world.AllReduce(empty, ReduceOp::kSum);
    world.AllReduce(empty, ReduceOp::kAvg);
    world.ReduceScatter(gathered, empty, ReduceOp::kSum);
    world.Broadcast(empty, 0);
    world.Gather(at_root, empty, 0);
    world.Scatter(empty, at_root, 0);
    world.Barrier();
    EXPECT_TRUE(Same(empty, at::empty({0, 3})));
  });
}

TEST(CollectivesTest, LargeTensors) {
  OnEveryRank([](Communicator& world) {
    constexpr int64_t kCount = 1 << 20;  // 4 MiB: more than any transport buffers
    at::Tensor tensor = Coded(world.rank(), kCount, at::kFloat);
    world.AllReduce(tensor, ReduceOp::kSum);
    EXPECT_TRUE(Same(tensor, Reduced(world.size(), kCount, at::kFloat, ReduceOp::kSum)));
    at::Tensor all = at::empty({world.size(), kCount}, at::kByte);
    world.AllGatherInto(all, Coded(world.rank(), kCount, at::kByte));
    for (int r = 0; r < world.size(); ++r) EXPECT_TRUE(Same(all[r], Coded(r, kCount, at::kByte))) << "from " << r;
  });
}

// Sizes that no number of ranks divides, over several pieces of any transport.
TEST(CollectivesTest, LargeTensorsOfUnevenSizes) {
  OnEveryRank([](Communicator& world) {
    const int rank = world.rank();
    const auto count = [](int r) { return r == 1 ? int64_t{0} : 100'003 + 5'021 * int64_t{r}; };
    at::Tensor tensor = Coded(rank, count(0), at::kShort);
    world.AllReduce(tensor, ReduceOp::kSum);
    EXPECT_TRUE(Same(tensor, Reduced(world.size(), count(0), at::kShort, ReduceOp::kSum)));
    at::Tensor chunk = at::empty({count(0)}, at::kDouble);
    const int64_t all = world.size() * count(0);
    world.ReduceScatter(chunk, Addend(rank, world.size(), all, at::kDouble, ReduceOp::kMax), ReduceOp::kMax);
    const at::Tensor reduced = Reduced(world.size(), all, at::kDouble, ReduceOp::kMax);
    EXPECT_TRUE(Same(chunk, reduced.narrow(0, rank * count(0), count(0))));

    std::vector<at::Tensor> parts;
    for (int r = 0; r < world.size(); ++r) parts.push_back(at::empty({count(r)}, at::kInt));
    world.AllGatherV(parts, Coded(rank, count(rank), at::kInt));
    for (int r = 0; r < world.size(); ++r) EXPECT_TRUE(Same(parts[r], Coded(r, count(r), at::kInt))) << "from " << r;
    const int root = world.size() - 1;
    at::Tensor back = at::empty({count(rank)}, at::kInt);
    world.Scatter(back, rank == root ? parts : std::vector<at::Tensor>{}, root);
    EXPECT_TRUE(Same(back, Coded(rank, count(rank), at::kInt)));
    std::vector<at::Tensor> gathered(rank == root ? world.size() : 0);
    for (size_t r = 0; r < gathered.size(); ++r) gathered[r] = at::empty_like(parts[r]);
    world.Gather(gathered, back, root);
    for (size_t r = 0; r < gathered.size(); ++r) EXPECT_TRUE(Same(gathered[r], parts[r])) << "from " << r;
    at::Tensor everywhere = Coded(rank, count(0), at::kFloat);
    world.Broadcast(everywhere, root);
    EXPECT_TRUE(Same(everywhere, Coded(root, count(0), at::kFloat)));
  });
}

TEST(CollectivesTest, LargeMessagesBetweenTwoRanks) {
  OnEveryRank([](Communicator& world) {
    if (world.size() == 1) GTEST_SKIP() << "needs a peer";
    constexpr int64_t kCount = 1'000'003;
    at::Tensor received = at::empty({kCount}, at::kFloat);
    if (world.rank() == 0) world.Send(Coded(0, kCount, at::kFloat), world.size() - 1, 9);
    if (world.rank() == world.size() - 1) {
      world.Receive(received, 0, 9);
      EXPECT_TRUE(Same(received, Coded(0, kCount, at::kFloat)));
    }
  });
}

TEST(CollectivesTest, BytesOfAnyLength) {
  const auto text = [](int rank) { return std::string(rank * 1000, static_cast<char>('a' + rank)) + '\0'; };
  OnEveryRank([&](Communicator& world) {
    const std::vector<std::string> all = world.AllGatherBytes(text(world.rank()));
    ASSERT_EQ(all.size(), static_cast<size_t>(world.size()));
    for (int r = 0; r < world.size(); ++r) EXPECT_EQ(all[r], text(r));
    EXPECT_EQ(world.AllGatherBytes(""), std::vector<std::string>(world.size()));
    // About the size up to which bytes go at once: on all ranks, on the last one only.
    for (const size_t size : {1015, 1016, 1017, 5000}) {
      const auto of_rank = [&](int rank) {
        return std::string(rank == world.size() - 1 ? size : 1016, static_cast<char>('a' + rank));
      };
      const std::vector<std::string> given = world.AllGatherBytes(of_rank(world.rank()));
      for (int r = 0; r < world.size(); ++r) EXPECT_EQ(given[static_cast<size_t>(r)], of_rank(r)) << size;
    }
  });
}

TEST(CollectivesTest, WrongArgumentsAreRefusedBeforeAnythingIsSent) {
  OnEveryRank([](Communicator& world) {
    std::vector<at::Tensor> too_many(world.size() + 1, at::empty({1}));
    EXPECT_THROW(world.AllGatherInto(at::empty({world.size() + 1}), at::empty({1})), std::invalid_argument);
    EXPECT_THROW(world.AllGatherV(too_many, at::empty({1})), std::invalid_argument);
    EXPECT_THROW(world.ReduceScatter(at::empty({1}), at::empty({world.size() + 1}), ReduceOp::kSum),
                 std::invalid_argument);
    EXPECT_THROW(world.AllReduce(at::empty({4, 4}).t().narrow(0, 0, 2), ReduceOp::kSum), std::invalid_argument);
    EXPECT_THROW(world.AllReduce(at::ones({2}, at::kInt), ReduceOp::kAvg), std::invalid_argument);
    EXPECT_THROW(world.AllReduce(at::ones({2}, at::kComplexFloat), ReduceOp::kSum), std::invalid_argument);
    EXPECT_THROW(world.Broadcast(at::Tensor(), 0), std::invalid_argument);
    world.Barrier();
  });
}

}  // namespace
}  // namespace shardcts
