#include "process/watched_time.h"

namespace shardcts {

WatchedTime::Clock::time_point WatchedTime::At(Clock::time_point real) {
  if (real - asked_ > kLongestRound) not_counted_ += real - asked_;
  asked_ = real;
  return real - not_counted_;
}

}  // namespace shardcts
