// WatchedTime: a clock for deadlines of other processes. It stands still while this process does not run. *Local*.
#pragma once

#include <chrono>

namespace shardcts {

// Of a loop that asks it several times a second. When more than kLongestRound have passed since it was asked last, this
// process was stopped (Ctrl-Z, a debugger, a paused container) or busy, and nobody watched: that time does not count.
// Those who waited for this process in the meantime are not late.
class WatchedTime {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kLongestRound{1'000};

  Clock::time_point Now() { return At(Clock::now()); }
  // The watched time at this real time.
  Clock::time_point At(Clock::time_point real);

 private:
  Clock::time_point asked_ = Clock::now();
  Clock::duration not_counted_{0};
};

}  // namespace shardcts
