// ThreadGroup: what the ranks of one threads communicator share. All *Local*; every method may be called from any
// thread unless it says otherwise. Ranks are those of the group.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace shardcts {

class ThreadGroup;

// What a rank brings to a collective call.
struct ThreadContribution {
  std::string call;
  std::string details;  // ranks whose call or details differ are an error
  std::vector<at::Tensor> tensors;
  int color = 0;  // of Split
  int key = 0;
};

// One collective call of a group: complete when every rank has contributed. It exists until the last rank has
// taken what it needs. Before it is complete the group's lock guards it; then it is constant.
struct ThreadRound {
  explicit ThreadRound(int size) : contributions(size), arrived(size, false), missing(size) {}
  std::vector<ThreadContribution> contributions;
  std::vector<bool> arrived;
  int missing;
  std::once_flag made_once;  // what is made of the contributions for all ranks, by the rank that needs it first:
  at::Tensor reduced;
  std::map<int, std::shared_ptr<ThreadGroup>> groups;  // of Split, by color
};

struct ThreadMessage {
  int from;
  int tag;
  at::Tensor tensor;
};

// Which ranks of the world have destroyed their communicator over all ranks.
using EndedRanks = std::vector<std::atomic<bool>>;

class ThreadGroup {
 public:
  ThreadGroup(std::vector<int64_t> global_ranks, std::shared_ptr<EndedRanks> ended)
      : global_ranks_(std::move(global_ranks)),
        ended_(std::move(ended)),
        next_round_(global_ranks_.size(), 0),
        messages_(global_ranks_.size()) {}

  const std::vector<int64_t>& global_ranks() const { return global_ranks_; }
  const std::shared_ptr<EndedRanks>& ended() const { return ended_; }
  int size() const { return static_cast<int>(global_ranks_.size()); }
  bool HasEnded(int rank) const { return (*ended_)[global_ranks_[rank]]; }

  // Joins this rank's next round.
  std::shared_ptr<ThreadRound> Arrive(int rank, ThreadContribution contribution);
  bool IsComplete(const ThreadRound& round) const { return round.missing == 0; }
  void Post(int to, ThreadMessage message);
  // The oldest message of this sender and tag, once; nullopt: none.
  std::optional<at::Tensor> Take(int rank, int from, int tag);
  // A rank that has ended without coming to this round; -1: none.
  int EndedBefore(const ThreadRound& round);

  // Sleeps until `ready()` holds, which is called under the lock, or `until`. Returns whether it holds.
  template <class Ready>
  bool Sleep(std::chrono::steady_clock::time_point until, const Ready& ready) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_until(lock, until, ready);
  }
  // Under the lock only.
  bool HasMessage(int rank, int from, int tag) const {
    return std::any_of(messages_[rank].begin(), messages_[rank].end(),
                       [&](const ThreadMessage& message) { return message.from == from && message.tag == tag; });
  }

 private:
  const std::vector<int64_t> global_ranks_;
  const std::shared_ptr<EndedRanks> ended_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int64_t> next_round_;                         // of each rank
  std::map<int64_t, std::shared_ptr<ThreadRound>> rounds_;  // by number, those that are not complete
  std::vector<std::deque<ThreadMessage>> messages_;         // by receiver
};

}  // namespace shardcts
