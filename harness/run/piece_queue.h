// PieceQueue: work for several threads, some of which can be done only when other work is over. *Local*.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace shardcts {

template <class Piece>
class PieceQueue {
 public:
  // `more`: what can be done when no piece is left and none is being worked on; none: everything is done. `stop`: no
  // further piece is begun.
  PieceQueue(std::function<std::vector<Piece>()> more, const std::atomic<bool>& stop)
      : more_(std::move(more)), stop_(stop) {}

  // Called by each thread: works on one piece after another until all is done.
  void Work(const std::function<void(const Piece&)>& work) {
    while (const std::optional<Piece> piece = Next()) {
      const Worked worked(*this);
      work(*piece);
    }
  }

 private:
  static constexpr std::chrono::milliseconds kLookAtStop{20};

  // Also for a piece whose work ends with an exception.
  class Worked {
   public:
    explicit Worked(PieceQueue& queue) : queue_(queue) {}
    ~Worked() {
      const std::lock_guard lock(queue_.mutex_);
      --queue_.working_;
      queue_.over_.notify_all();
    }

   private:
    PieceQueue& queue_;
  };

  std::optional<Piece> Next() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      if (next_ == pieces_.size() && working_ == 0) {
        pieces_ = more_();
        next_ = 0;
        if (pieces_.empty()) return std::nullopt;
      }
      if (next_ < pieces_.size()) {
        ++working_;
        return std::exchange(pieces_[next_++], Piece());
      }
      over_.wait_for(lock, kLookAtStop);
    }
    return std::nullopt;
  }

  const std::function<std::vector<Piece>()> more_;
  const std::atomic<bool>& stop_;
  std::mutex mutex_;
  std::condition_variable over_;
  std::vector<Piece> pieces_;
  size_t next_ = 0;
  size_t working_ = 0;
};

}  // namespace shardcts
