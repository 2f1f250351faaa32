// Ranks see each other's parts of a window, and all-gathers through one are as any other.
#include "comm/shared_window.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
