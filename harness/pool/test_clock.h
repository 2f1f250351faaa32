// TestClock: which test of a pool runs, since when, and which of its deadlines has passed. *Local*, no processes.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "pool/pool_record.h"
#include "pool/rank_pool.h"

namespace shardcts {

class TestClock {
 public:
  using Clock = std::chrono::steady_clock;

  TestClock(const PoolLimits& limits, const PoolRecord& record) : limits_(limits), record_(record) {}

  // From here on tests run.
  void Begin(Clock::time_point now) { idle_since_ = now; }
  // True when another test runs than before.
  bool Note(Clock::time_point now);

  const std::optional<size_t>& running() const { return running_; }
  double SecondsRunning(Clock::time_point now) const;

  enum class Late {
    kNone,
    kIdle,   // no rank starts a test
    kPeers,  // a rank has ended the test early, and its peers go on
    kTest,
  };
  Late WhatIsLate(Clock::time_point now);
  // For kPeers: the rank that ended the test.
  int stopper() const { return *record_.RankThatStopped(*running_); }
  // For kTest: the ranks that have not finished the running test; when all have, those that have not left it.
  std::vector<int> StuckRanks() const;

 private:
  const PoolLimits& limits_;
  const PoolRecord& record_;
  std::optional<size_t> running_;
  std::optional<Clock::time_point> stopped_since_;  // a rank ended the running test early
  Clock::time_point running_since_, idle_since_;
};

// "1.5 s"
std::string SecondsText(std::chrono::milliseconds limit);

}  // namespace shardcts
