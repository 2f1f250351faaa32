// The threads backend passes the conformance tests, and what it promises beyond them: threads_communicator_test RANKS
#include "comm/threads_communicator.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "comm/conformance/ranks.h"

namespace shardcts {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

int world_size = 0;

// What `body` throws on each rank; "" where it does not.
std::vector<std::string> ErrorsByRank(int ranks, const std::function<void(Communicator& world)>& body) {
  std::vector<std::string> errors(ranks);
  RunThreadRanks(ranks, [&](Communicator& world) {
    try {
      body(world);
    } catch (const CommunicationError& error) {
      errors[world.rank()] = error.what();
    }
    world.Barrier();
  });
  return errors;
}

}  // namespace

void RunOnRanks(const std::function<void(Communicator& world)>& body) { RunThreadRanks(world_size, body); }

std::string BackendUnderTest() { return "threads"; }

namespace {

TEST(ThreadsCommunicatorTest, ReductionsAddInRankOrder) {
  // In float32 (1e8 + 1) + 1 = 1e8, but 1 + 1 + 1e8 = 100000002: the order shows.
  RunThreadRanks(3, [](Communicator& world) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      at::Tensor tensor = at::full({2}, world.rank() == 0 ? 1e8 : 1.0);
      world.AllReduce(tensor, ReduceOp::kSum);
      EXPECT_TRUE(at::equal(tensor, at::full({2}, 1e8)));
      at::Tensor chunk = at::empty({1});
      world.ReduceScatter(chunk, at::full({3}, world.rank() == 2 ? 1e8 : 1.0), ReduceOp::kSum);
      EXPECT_EQ(chunk.item<float>(), 100000002.0F);
    }
  });
}

TEST(ThreadsCommunicatorTest, RanksThatCallDifferentOperationsAreTold) {
  const std::vector<std::string> errors = ErrorsByRank(2, [](Communicator& world) {
    const std::unique_ptr<Communicator> group = world.Split(0, world.rank());
    if (world.rank() == 0) group->Barrier();
    if (world.rank() == 1) group->AllReduce(at::ones({3}), ReduceOp::kSum);
  });
  EXPECT_THAT(errors[0],
              HasSubstr("barrier on rank 0 in group [0,1]: called, but rank 1 calls all_reduce of 3 Float by sum"));
  EXPECT_THAT(errors[1], HasSubstr("rank 0 calls barrier"));
}

TEST(ThreadsCommunicatorTest, SizesThatDoNotFitAreTold) {
  const auto errors_of = [](const std::function<void(Communicator&)>& call) {
    return ErrorsByRank(2, [&](Communicator& world) { call(*world.Split(0, world.rank())); });
  };
  EXPECT_THAT(errors_of([](Communicator& group) { group.AllReduce(at::ones({2 + group.rank()}), ReduceOp::kSum); }),
              Each(AllOf(HasSubstr("of 2 Float by sum"), HasSubstr("of 3 Float by sum"))));
  EXPECT_THAT(errors_of([](Communicator& group) { group.Broadcast(at::ones({2 + group.rank()}), 0); })[1],
              HasSubstr("got 8 bytes for a tensor of 12"));
  EXPECT_THAT(errors_of([](Communicator& group) {
                if (group.rank() == 0) group.Send(at::ones({2}), 1, 0);
                if (group.rank() == 1) group.Receive(at::ones({3}), 0, 0);
              })[1],
              HasSubstr("receive on rank 1 in group [0,1]: got 8 bytes for a tensor of 12"));
}

TEST(ThreadsCommunicatorTest, RankThatThrowsEndsTheWaitsOfItsPeers) {
  const auto start = std::chrono::steady_clock::now();
  std::string peer_error;
  const auto run = [&] {
    RunThreadRanks(2, [&](Communicator& world) {
      if (world.rank() == 1) throw std::runtime_error("rank 1 is broken");
      try {
        world.Barrier();
      } catch (const CommunicationError& error) {
        peer_error = error.what();
        throw;
      }
    });
  };
  EXPECT_THAT(run, testing::ThrowsMessage<std::runtime_error>("rank 1 is broken"));
  EXPECT_THAT(peer_error, HasSubstr("barrier on rank 0 in group [0,1]: rank 1 has ended"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(ThreadsCommunicatorTest, TensorMayBeChangedAsSoonAsItIsSent) {
  RunThreadRanks(2, [](Communicator& world) {
    at::Tensor tensor = at::ones({1000});
    if (world.rank() == 0) {
      world.Send(tensor, 1, 0);
      tensor.zero_();
      world.Barrier();
    } else {
      world.Barrier();
      world.Receive(tensor.zero_(), 0, 0);
      EXPECT_TRUE(at::equal(tensor, at::ones({1000})));
    }
  });
}

TEST(ThreadsCommunicatorTest, TwoHundredAndFiftySixRanks) {
  RunThreadRanks(256, [](Communicator& world) {
    const std::unique_ptr<Communicator> row = world.Split(world.rank() / 16, world.rank());
    at::Tensor sum = at::full({1}, world.rank(), at::kLong);
    row->AllReduce(sum, ReduceOp::kSum);
    world.AllReduce(sum, ReduceOp::kSum);
    EXPECT_EQ(sum.item<int64_t>(), 16 * 255 * 256 / 2);
  });
}

}  // namespace
}  // namespace shardcts

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  shardcts::world_size = argc == 2 ? std::atoi(argv[1]) : 0;
  if (shardcts::world_size < 1) {
    std::cerr << "usage: threads_communicator_test RANKS\n";
    return 2;
  }
  return RUN_ALL_TESTS();
}
