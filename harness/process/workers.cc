#include "process/workers.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace shardcts {
namespace {

constexpr std::chrono::milliseconds kLookAtInterrupted{20};

class Workers {
 public:
  Workers(size_t count, size_t threads, const std::function<void(size_t)>& work, std::atomic<bool>& stop)
      : count_(count), working_(std::min(count, std::max<size_t>(threads, 1))), work_(work), stop_(stop) {}

  void Run(const std::atomic<bool>& interrupted) {
    std::vector<std::jthread> threads;
    Start(threads);
    std::unique_lock lock(mutex_);
    while (!all_back_.wait_for(lock, kLookAtInterrupted, [this] { return working_ == 0; })) {
      if (interrupted) stop_ = true;
    }
    lock.unlock();
    threads.clear();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  // Fewer do, too, where the system gives no more.
  void Start(std::vector<std::jthread>& threads) {
    const size_t wanted = working_;
    try {
      while (threads.size() < wanted) threads.emplace_back([this] { Work(); });
    } catch (const std::system_error&) {
      if (threads.empty()) throw;
      const std::lock_guard lock(mutex_);
      working_ -= wanted - threads.size();
      all_back_.notify_all();
    }
  }

  void Work() {
    for (size_t piece = next_++; piece < count_ && !stop_; piece = next_++) {
      try {
        work_(piece);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
        stop_ = true;
      }
    }
    std::unique_lock lock(mutex_);
    if (--working_ == 0) all_back_.notify_all();
    all_back_.wait(lock, [this] { return working_ == 0; });
  }

  const size_t count_;
  size_t working_;  // threads
  const std::function<void(size_t)>& work_;
  std::atomic<bool>& stop_;
  std::atomic<size_t> next_ = 0;
  std::mutex mutex_;
  std::condition_variable all_back_;
  std::exception_ptr failure_;
};

}  // namespace

void RunPieces(size_t count, size_t threads, const std::function<void(size_t)>& work,
               const std::atomic<bool>& interrupted, std::atomic<bool>& stop) {
  Workers(count, threads, work, stop).Run(interrupted);
}

}  // namespace shardcts
