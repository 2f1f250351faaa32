#include "comm/call_state.h"

#include <gtest/gtest.h>

namespace shardcts {
namespace {

using std::chrono::seconds;
const CallState::TimePoint kStart{seconds(1000)};

TEST(CallStateTest, WaitsSixtySecondsWithoutDeadline) {
  EXPECT_EQ(CallState().DeadlineFor(kStart), kStart + seconds(60));
}

TEST(CallStateTest, DeadlineHoldsForSplitOffGroupsUntilTheyHaveTheirOwn) {
  auto parent = std::make_shared<CallState>();
  auto child = std::make_shared<CallState>(parent);
  parent->SetDeadline(kStart + seconds(5));
  EXPECT_EQ(child->DeadlineFor(kStart), kStart + seconds(5));
  child->SetDeadline(kStart + seconds(9));
  EXPECT_EQ(child->DeadlineFor(kStart), kStart + seconds(9));
  EXPECT_EQ(parent->DeadlineFor(kStart), kStart + seconds(5));
}

TEST(CallStateTest, AbortReachesDescendantsOnly) {
  auto parent = std::make_shared<CallState>();
  auto child = std::make_shared<CallState>(parent);
  auto grandchild = std::make_shared<CallState>(child);
  child->Abort("first");
  child->Abort("second");
  EXPECT_EQ(parent->AbortReason(), std::nullopt);
  EXPECT_EQ(child->AbortReason(), "first");
  EXPECT_EQ(grandchild->AbortReason(), "first");
}

TEST(CallStateTest, WhatThePollGivesAbortsForGood) {
  auto parent = std::make_shared<CallState>();
  auto child = std::make_shared<CallState>(parent);
  std::optional<std::string> alarm;
  parent->AbortWhen([&] { return alarm; });
  EXPECT_EQ(child->AbortReason(), std::nullopt);
  alarm = "rank 1 stopped";
  EXPECT_EQ(child->AbortReason(), "rank 1 stopped");
  alarm.reset();
  EXPECT_EQ(parent->AbortReason(), "rank 1 stopped");
}

TEST(CallStateTest, FailureReachesAncestorsOnly) {
  auto parent = std::make_shared<CallState>();
  auto child = std::make_shared<CallState>(parent);
  auto grandchild = std::make_shared<CallState>(child);
  child->NoteFailure();
  EXPECT_TRUE(parent->failed());
  EXPECT_TRUE(child->failed());
  EXPECT_FALSE(grandchild->failed());
}

}  // namespace
}  // namespace shardcts
