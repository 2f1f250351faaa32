#include "pool/test_clock.h"

#include <sstream>

namespace shardcts {

bool TestClock::Note(Clock::time_point now) {
  const std::optional<size_t> running = record_.Running();
  if (running == running_) return false;
  running_ = running;
  running_since_ = idle_since_ = now;
  stopped_since_.reset();
  return true;
}

double TestClock::SecondsRunning(Clock::time_point now) const {
  return std::chrono::duration<double>(now - running_since_).count();
}

TestClock::Late TestClock::WhatIsLate(Clock::time_point now) {
  if (!running_) return now - idle_since_ > limits_.test ? Late::kIdle : Late::kNone;
  const bool stopped = record_.RankThatStopped(*running_).has_value();
  if (stopped && !stopped_since_) stopped_since_ = now;
  if (stopped && now - *stopped_since_ > limits_.stop_peers && !record_.FinishedByAll(*running_)) return Late::kPeers;
  return now - running_since_ > limits_.test ? Late::kTest : Late::kNone;
}

std::vector<int> TestClock::StuckRanks() const {
  const bool finished = record_.FinishedByAll(*running_);
  std::vector<int> stuck;
  for (size_t rank = 0; rank < record_.ranks().size(); ++rank) {
    const RankState& state = record_.ranks()[rank];
    const bool left = state.pool_finished || (state.last_started && *state.last_started > *running_);
    const bool back = finished ? left : record_.Reports(*running_)[rank].finished();
    if (!back) stuck.push_back(static_cast<int>(rank));
  }
  return stuck;
}

std::string SecondsText(std::chrono::milliseconds limit) {
  std::ostringstream text;
  text << static_cast<double>(limit.count()) / 1000 << " s";
  return text.str();
}

}  // namespace shardcts
