#include "pool/loss.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace shardcts {
namespace {

constexpr int kExit3 = 3 << 8, kFollowed = 4 << 8;

RankEnd Ended(std::optional<int> status) { return {.ended = true, .status = status}; }
RankEnd Lives() { return {.alive = true}; }

std::string Text(const Incident& incident) {
  return ToString(incident.verdict) + " " + std::to_string(incident.rank) + ": " + incident.reason;
}

TEST(LossTest, TheRankAndItsTrueSignal) {
  EXPECT_EQ(Text(ExplainLoss({Lives(), Ended(SIGINT)}, {{1}}, std::nullopt)),
            "crash 1: rank 1 ended without finishing its tests: Interrupt (signal 2)");
  EXPECT_EQ(Text(ExplainLoss({Ended(kExit3), Lives()}, {{0}}, std::nullopt)),
            "crash 0: rank 0 ended without finishing its tests: exit code 3");
}

TEST(LossTest, PeersThatFollowedAreNotTheCause) {
  EXPECT_EQ(ExplainLoss({Ended(kFollowed), Ended(SIGKILL), Ended(kFollowed)}, {{0}, {1}}, std::nullopt).rank, 1);
  RankEnd left = Ended(std::nullopt);
  left.left = true;
  EXPECT_EQ(ExplainLoss({left, Ended(std::nullopt)}, {{1}}, std::nullopt).rank, 1);
}

TEST(LossTest, OfSeveralTheFirstToBeLost) {
  EXPECT_EQ(ExplainLoss({Ended(SIGKILL), Ended(SIGKILL)}, {{1}, {0}}, std::nullopt).rank, 1);
  EXPECT_EQ(ExplainLoss({Ended(SIGKILL), Ended(SIGKILL)}, {{1, 0}}, std::nullopt).rank, -1) << "at the same time";
  EXPECT_EQ(Text(ExplainLoss({Ended(SIGKILL), Ended(SIGKILL)}, {}, std::nullopt)),
            "crash -1: one of ranks 0, 1 ended without finishing its tests: rank 0: Killed (signal 9), rank 1: Killed (signal 9)");
}

TEST(LossTest, ARankThatTellsItsSignalIsTheCause) {
  RankEnd told = Ended(SIGKILL);
  told.crashed_signal = SIGSEGV;
  EXPECT_EQ(Text(ExplainLoss({Ended(SIGKILL), told}, {{0}, {1}}, "the launcher ended with exit code 1")),
            "crash 1: rank 1 ended without finishing its tests: Segmentation fault (signal 11)");
}

TEST(LossTest, ARankThatIsStillDyingHasToldItsSignal) {
  const RankEnd dying = {.ended = true, .alive = true, .crashed_signal = SIGSEGV, .lost = "its connection ended"};
  EXPECT_EQ(Text(ExplainLoss({Lives(), dying}, {{1}}, std::nullopt)),
            "crash 1: rank 1 ended without finishing its tests: Segmentation fault (signal 11)");
}

TEST(LossTest, WhatRanksHangOnIsNobodysFault) {
  EXPECT_EQ(Text(ExplainLoss({Ended(SIGKILL), Ended(SIGKILL)}, {{0}, {1}}, "the warm process ended: Killed (signal 9)")),
            "harness_error -1: the warm process ended: Killed (signal 9)");
  RankEnd orphan = Ended(std::nullopt);
  orphan.orphaned = true;
  EXPECT_EQ(ExplainLoss({orphan, orphan}, {{0, 1}}, std::nullopt).verdict, Verdict::kHarnessError);
  EXPECT_EQ(ExplainLoss({orphan, Ended(SIGKILL)}, {{0, 1}}, std::nullopt).verdict, Verdict::kCrash);
  EXPECT_EQ(Text(ExplainLoss({orphan, Lives()}, {{0}}, std::nullopt)),
            "harness_error -1: the process that had started rank 0 ended, and the rank with it");
}

TEST(LossTest, AFullDiskIsNobodysFault) {
  RankEnd full = Ended(kExit3);
  full.lost = full.failure = "event file: No space left on device";
  EXPECT_EQ(Text(ExplainLoss({Ended(kFollowed), full}, {{1}}, std::nullopt)),
            "harness_error 1: rank 1 could not go on: event file: No space left on device");
}

TEST(LossTest, AConnectionThatIsLostWhileTheRankLives) {
  RankEnd cut_off = {.ended = true, .alive = true, .lost = "its connection to the controller ended"};
  EXPECT_EQ(Text(ExplainLoss({cut_off, Lives()}, {{0}}, std::nullopt)),
            "crash 0: rank 0 cannot be reached any more: its connection to the controller ended");
  cut_off.status = kFollowed;
  EXPECT_EQ(Text(ExplainLoss({cut_off, Lives()}, {{0}}, std::nullopt)),
            "crash 0: rank 0 cannot be reached any more: its connection to the controller ended: exit code 4");
}

TEST(LossTest, RanksThatWereDoneAreNotMeant) {
  RankEnd done = Ended(0);
  done.done = true;
  EXPECT_EQ(ExplainLoss({done, Ended(kExit3)}, {}, std::nullopt).rank, 1);
}

}  // namespace
}  // namespace shardcts
