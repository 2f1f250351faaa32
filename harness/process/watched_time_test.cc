#include "process/watched_time.h"

#include <gtest/gtest.h>

namespace shardcts {
namespace {

using std::chrono::milliseconds;

TEST(WatchedTime, GoesOnWhileItIsAskedOften) {
  WatchedTime time;
  const auto real = WatchedTime::Clock::now();
  const auto begin = time.At(real);
  for (int round = 1; round <= 100; ++round) {
    const auto later = round * milliseconds(900);
    EXPECT_EQ(time.At(real + later), begin + later);
  }
}

TEST(WatchedTime, StandsStillWhileNobodyAsks) {
  WatchedTime time;
  const auto real = WatchedTime::Clock::now();
  const auto begin = time.At(real);
  EXPECT_EQ(time.At(real + milliseconds(9'000)), begin);
  EXPECT_EQ(time.At(real + milliseconds(9'020)), begin + milliseconds(20));
  EXPECT_EQ(time.At(real + milliseconds(20'000)), begin + milliseconds(20));
}

}  // namespace
}  // namespace shardcts
