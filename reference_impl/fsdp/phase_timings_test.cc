#include "fsdp/phase_timings.h"

#include <gtest/gtest.h>

#include <thread>

namespace shardcts::reference {
namespace {

using std::chrono::milliseconds;

void Spend(TimedPhase phase) {
  const PhaseTimer timer(phase);
  std::this_thread::sleep_for(milliseconds(100));
}

TEST(PhaseTimingsTest, NothingIsCollectedUnasked) {
  PhaseTimings timings;
  Spend(TimedPhase::kGather);
  EXPECT_EQ(timings.Of(TimedPhase::kGather).calls, 0);
}

TEST(PhaseTimingsTest, ThePhaseAroundDoesNotCountWhatIsWithin) {
  PhaseTimings timings;
  {
    const PhaseTimings::Collection collection(&timings);
    const PhaseTimer hooks(TimedPhase::kHooks);
    Spend(TimedPhase::kGather);
    Spend(TimedPhase::kGather);
  }
  Spend(TimedPhase::kGather);  // not collected any more
  EXPECT_EQ(timings.Of(TimedPhase::kGather).calls, 2);
  const double gather = timings.Of(TimedPhase::kGather).seconds;
  EXPECT_GE(gather, 0.200);
  EXPECT_EQ(timings.Of(TimedPhase::kHooks).calls, 1);
  EXPECT_LT(timings.Of(TimedPhase::kHooks).seconds, gather);
  timings.Clear();
  EXPECT_EQ(timings.Of(TimedPhase::kGather).calls, 0);
}

TEST(PhaseTimingsTest, EachThreadCollectsForItself) {
  PhaseTimings timings;
  const PhaseTimings::Collection collection(&timings);
  std::thread([] { Spend(TimedPhase::kGather); }).join();
  EXPECT_EQ(timings.Of(TimedPhase::kGather).calls, 0);
}

}  // namespace
}  // namespace shardcts::reference
