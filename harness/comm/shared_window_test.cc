// Ranks see each other's parts of a window, and all-gathers through one are as any other.
#include "comm/shared_window.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include "comm/rank_test_main.h"

namespace shardcts {
namespace {

using testing::HasSubstr;

TEST(SharedWindowTest, EveryRankSeesEveryPart) {
  const auto window = SharedWindow::Open(World(), 1000);
  if (!window) GTEST_SKIP() << "these ranks have no memory in common";
  std::memset(window->Part(World().rank()), 1 + World().rank(), 1000);
  World().Barrier();
  for (int r = 0; r < World().size(); ++r) {
    EXPECT_EQ(window->Part(r)[0], 1 + r);
    EXPECT_EQ(window->Part(r)[999], 1 + r);
  }
}

TEST(SharedWindowTest, IsNotThereWithoutMemory) {
  EXPECT_EQ(SharedWindow::Open(World(), size_t{1} << 50), nullptr);
  World().Barrier();  // nobody was left behind
}

// The ranks take turns in a circle. Who is not woken waits for its minute.
TEST(BellTest, WakesWhoWaitsForWhatWasWritten) {
  const auto window = SharedWindow::Open(World(), sizeof(std::atomic<int>));
  if (!window) GTEST_SKIP() << "these ranks have no memory in common";
  auto& turn = *reinterpret_cast<std::atomic<int>*>(window->Part(0));
  const auto start = std::chrono::steady_clock::now();
  for (int mine = World().rank(); mine < 50 * World().size(); mine += World().size()) {
    for (uint32_t rings = window->bell().Rings(); turn.load() != mine; rings = window->bell().Rings()) {
      window->bell().Await(rings, std::chrono::minutes(1));
    }
    turn.store(mine + 1);
    window->bell().Ring();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(1));
  World().Barrier();
}

TEST(BellTest, AWaitEndsAtItsLimit) {
  const auto window = SharedWindow::Open(World(), 1);
  if (!window) GTEST_SKIP() << "these ranks have no memory in common";
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(20)) {
    window->bell().Await(window->bell().Rings(), std::chrono::milliseconds(5));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  World().Barrier();
}

// Around the size from which a window is used, and more than goes through it at once.
TEST(LargeAllGatherTest, KeepsRankOrder) {
  for (const int64_t count : {16383, 16384, 16385, 3'000'001}) {
    at::Tensor output = at::zeros({World().size(), count});
    World().AllGatherInto(output, at::arange(count, at::kFloat) + World().rank());
    for (int r = 0; r < World().size(); ++r) {
      EXPECT_TRUE(at::equal(output[r], at::arange(count, at::kFloat) + r)) << count << " elements of rank " << r;
    }
  }
}

TEST(LargeAllGatherTest, InputsMayChangeAfterIt) {
  at::Tensor output = at::empty({World().size(), 100'000});
  at::Tensor input = at::empty({100'000});
  for (int round = 0; round < 20; ++round) {
    input.fill_(World().rank() + round);
    World().AllGatherInto(output, input);
    input.fill_(-1);
    for (int r = 0; r < World().size(); ++r) EXPECT_TRUE((output[r] == r + round).all().item<bool>());
  }
}

TEST(LargeAllGatherTest, EndsAtItsDeadlineWithoutAPeer) {
  if (World().size() == 1) GTEST_SKIP() << "needs a peer that does not come";
  const std::unique_ptr<Communicator> group = World().Split(0, World().rank());
  at::Tensor output = at::empty({World().size(), 100'000});
  const at::Tensor input = at::ones({100'000});
  group->AllGatherInto(output, input);
  if (World().rank() != World().size() - 1) {
    group->SetDeadline(std::chrono::steady_clock::now() + std::chrono::milliseconds(300));
    try {
      group->AllGatherInto(output, input);
      ADD_FAILURE() << "the last rank was not waited for";
    } catch (const CommunicationError& error) {
      EXPECT_THAT(error.what(), HasSubstr("all_gather on rank " + std::to_string(World().rank())));
      EXPECT_THAT(error.what(), HasSubstr("deadline"));
    }
  }
  World().Barrier();
}

}  // namespace
}  // namespace shardcts
