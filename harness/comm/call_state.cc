#include "comm/call_state.h"

namespace shardcts {

void CallState::Abort(const std::string& reason) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (aborted_) return;
  reason_ = reason;
  aborted_ = true;
}

std::optional<std::string> CallState::AbortReason() {
  if (!aborted_ && poll_) {
    if (const auto reason = poll_()) Abort(*reason);
  }
  if (aborted_) {
    std::lock_guard<std::mutex> lock(mutex_);
    return reason_;
  }
  return parent_ ? parent_->AbortReason() : std::nullopt;
}

void CallState::NoteFailure() {
  failed_ = true;
  if (parent_) parent_->NoteFailure();
}

CallState::TimePoint CallState::DeadlineFor(TimePoint start) const {
  for (const CallState* state = this; state != nullptr; state = state->parent_.get()) {
    const TimePoint::rep deadline = state->deadline_;
    if (deadline != 0) return TimePoint(TimePoint::duration(deadline));
  }
  return start + kDefaultTimeout;
}

}  // namespace shardcts
