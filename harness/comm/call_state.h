// CallState: deadline and abort of a communicator, as every backend with polled waits needs them.
#pragma once

#include <atomic>
#include <chrono>
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

  explicit CallState(std::shared_ptr<const CallState> parent = nullptr) : parent_(std::move(parent)) {}

  void SetDeadline(TimePoint deadline) { deadline_ = deadline.time_since_epoch().count(); }
  // The first reason stays.
  void Abort(const std::string& reason);
  // The reason given here or to an ancestor; nullopt when none was aborted. Without abort: one load per ancestor.
  std::optional<std::string> AbortReason() const;
  // For a wait that begins at `start`: own deadline, else the nearest ancestor's, else start + kDefaultTimeout.
  TimePoint DeadlineFor(TimePoint start) const;

 private:
  std::shared_ptr<const CallState> parent_;
  std::atomic<TimePoint::rep> deadline_{0};  // 0: not set
  std::atomic<bool> aborted_{false};
  mutable std::mutex mutex_;
  std::string reason_;
};

}  // namespace shardcts
