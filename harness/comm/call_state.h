// CallState: deadline and abort of a communicator, as every backend with polled waits needs them.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace shardcts {

// One per communicator, linked to the one that it was split from. Thread-safe.
class CallState {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kDefaultTimeout{60};

  explicit CallState(std::shared_ptr<CallState> parent = nullptr) : parent_(std::move(parent)) {}

  void SetDeadline(TimePoint deadline) { deadline_ = deadline.time_since_epoch().count(); }
  // The first reason stays.
  void Abort(const std::string& reason);
  // Before the first wait. `poll` is called by AbortReason(); the first text that it gives aborts.
  void AbortWhen(std::function<std::optional<std::string>()> poll) { poll_ = std::move(poll); }
  // The reason given here or to an ancestor; nullopt when none was aborted. Without abort: one load and one poll per
  // ancestor.
  std::optional<std::string> AbortReason();
  // A call has failed, here or in a descendant.
  void NoteFailure();
  bool failed() const { return failed_; }
  // For a wait that begins at `start`: own deadline, else the nearest ancestor's, else start + kDefaultTimeout.
  TimePoint DeadlineFor(TimePoint start) const;

 private:
  std::shared_ptr<CallState> parent_;
  std::function<std::optional<std::string>()> poll_;
  std::atomic<TimePoint::rep> deadline_{0};  // 0: not set
  std::atomic<bool> aborted_{false};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string reason_;
};

}  // namespace shardcts
