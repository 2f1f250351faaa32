// A call that cannot finish ends within its deadline or at an abort, on every rank that waits.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "comm/conformance/ranks.h"
#include "comm/testing/error_text.h"

namespace shardcts {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

std::string TextOfLonelyAllReduce(Communicator& group) {
  return ErrorText([&] {
    at::Tensor tensor = at::ones({1000});
    group.AllReduce(tensor, ReduceOp::kSum);
  });
}

// `body` gets a group of all ranks, which it may break; `joins` is false on the last rank.
void WithGroupToBreak(const std::function<void(Communicator& world, Communicator& group, bool joins)>& body) {
  OnEveryRank([&body](Communicator& world) {
    if (world.size() == 1) GTEST_SKIP() << "needs a peer that does not come";
    std::unique_ptr<Communicator> group = world.Split(0, world.rank());
    body(world, *group, world.rank() != world.size() - 1);
    world.Barrier();  // where it came from lives on
  });
}

TEST(AbortTest, DeadlineEndsAWait) {
  WithGroupToBreak([](Communicator& world, Communicator& group, bool joins) {
    if (!joins) return;
    const Clock::time_point start = Clock::now();
    group.SetDeadline(start + milliseconds(300));
    const std::string text = TextOfLonelyAllReduce(group);
    EXPECT_LT(Clock::now() - start, milliseconds(3000));
    EXPECT_THAT(text, HasSubstr("all_reduce on rank " + std::to_string(world.rank()) + " in group [0,1"));
    EXPECT_THAT(text, HasSubstr("deadline"));
    EXPECT_THROW(group.Barrier(), CommunicationError) << "it is unusable afterwards";
  });
}

TEST(AbortTest, DeadlineEndsAReceiveWhoseSenderNeverComes) {
  WithGroupToBreak([](Communicator& world, Communicator& group, bool joins) {
    if (!joins) return;
    group.SetDeadline(Clock::now() + milliseconds(300));
    const std::string text = ErrorText([&] { group.Receive(at::empty({3}), world.size() - 1, 1); });
    EXPECT_THAT(text, HasSubstr("receive on rank " + std::to_string(world.rank())));
    EXPECT_THAT(text, HasSubstr("deadline"));
  });
}

TEST(AbortTest, DeadlineEndsASplitThatAPeerDoesNotJoin) {
  WithGroupToBreak([](Communicator& world, Communicator& group, bool joins) {
    if (!joins) return;
    group.SetDeadline(Clock::now() + milliseconds(300));
    EXPECT_THAT(ErrorText([&] { group.Split(0, world.rank()); }), HasSubstr("deadline"));
  });
}

TEST(AbortTest, AbortFromAnotherThreadEndsAWaitInASplitOffGroup) {
  WithGroupToBreak([](Communicator& world, Communicator& group, bool joins) {
    std::unique_ptr<Communicator> inner = group.Split(0, world.rank());
    if (!joins) return;
    std::thread aborter([&] {
      std::this_thread::sleep_for(milliseconds(200));
      group.Abort("rank 2 failed a check");
    });
    EXPECT_THAT(TextOfLonelyAllReduce(*inner), HasSubstr("aborted: rank 2 failed a check"));
    aborter.join();
    EXPECT_THROW(group.Barrier(), CommunicationError);
  });
}

TEST(AbortTest, WhatAPollGivesEndsAWaitInASplitOffGroup) {
  WithGroupToBreak([](Communicator& world, Communicator& group, bool joins) {
    std::unique_ptr<Communicator> inner = group.Split(0, world.rank());
    if (!joins) return;
    const Clock::time_point alarm = Clock::now() + milliseconds(200);
    group.AbortWhen([alarm]() -> std::optional<std::string> {
      if (Clock::now() < alarm) return std::nullopt;
      return "rank 2 has stopped";
    });
    EXPECT_TRUE(group.usable());
    EXPECT_THAT(TextOfLonelyAllReduce(*inner), HasSubstr("aborted: rank 2 has stopped"));
    EXPECT_FALSE(group.usable()) << "a group split from it has failed";
  });
}

TEST(AbortTest, NoCallBeginsAfterAnAbort) {
  WithGroupToBreak([](Communicator& world, Communicator& group, bool joins) {
    group.Abort("enough");
    EXPECT_THAT(TextOfLonelyAllReduce(group), HasSubstr("aborted: enough"));
    EXPECT_THAT(ErrorText([&] { group.AllGatherBytes("x"); }), HasSubstr("aborted: enough"));
  });
}

TEST(AbortTest, BuffersOfAnUnfinishedCallMayBeReused) {
  WithGroupToBreak([](Communicator& world, Communicator& group, bool joins) {
    if (joins) {
      group.SetDeadline(Clock::now() + milliseconds(100));
      EXPECT_THAT(TextOfLonelyAllReduce(group), HasSubstr("deadline"));
    }
    for (int i = 0; i < 50; ++i) {
      at::Tensor tensor = at::full({1000}, 1.0);
      world.AllReduce(tensor, ReduceOp::kSum);
      ASSERT_TRUE(at::equal(tensor, at::full({1000}, static_cast<double>(world.size()))));
    }
  });
}

}  // namespace
}  // namespace shardcts
