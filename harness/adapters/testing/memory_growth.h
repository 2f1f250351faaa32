// Memory that tests measure on real ranks.
#pragma once

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "comm/local/host_memory.h"

namespace shardcts {

// *Local*. A line of /proc/self/status, in bytes.
inline int64_t StatusBytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  throw std::runtime_error("/proc/self/status has no " + name);
}

// *Local*. Call it first: what malloc gives of 1 MiB and more goes back to the system when it is freed. Otherwise
// malloc learns to keep it, and the resident set shows memory that is not in use.
inline void ReturnWhatIsFreed() { mallopt(M_MMAP_THRESHOLD, 1 << 20); }

// *Local*. What this process has over what it had when this was made: the tensors in its HostMemory, counted, and its
// resident set without memory that processes share. What is resident of peers' HostMemory is theirs.
class MemoryGrowth {
 public:
  MemoryGrowth() {
    malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5" << std::flush;  // the peak becomes what is resident now
    if (memory_) memory_->ForgetPeak();
    start_ = Now();
    resident_start_ = StatusBytes("VmRSS");
    shared_start_ = StatusBytes("RssShmem");
    watcher_ = std::thread([this] {
      while (!done_) {
        private_peak_ = std::max(private_peak_.load(), PrivateNow() - start_.own);
        std::this_thread::sleep_for(std::chrono::microseconds(500));
      }
    });
  }
  ~MemoryGrowth() {
    done_ = true;
    watcher_.join();
  }
  MemoryGrowth(const MemoryGrowth&) = delete;
  MemoryGrowth& operator=(const MemoryGrowth&) = delete;

  // Exact where no memory that processes share was taken or touched, beyond what transports need for messages; else the
  // sum of the peak of tensors in HostMemory and of the rest's, which is looked at every half millisecond.
  int64_t PeakBytes() const {
    const int64_t tensors = memory_ ? memory_->peak_bytes() - start_.tensors : 0;
    const bool shares_nothing = tensors == 0 && StatusBytes("RssShmem") - shared_start_ < (1 << 20);
    return shares_nothing ? StatusBytes("VmHWM") - resident_start_ : tensors + private_peak_;
  }
  int64_t BytesNow() const {
    const Amounts now = Now();
    return now.own - start_.own + now.tensors - start_.tensors;
  }

 private:
  struct Amounts {
    int64_t own = 0;
    int64_t tensors = 0;
  };
  static int64_t PrivateNow() { return StatusBytes("VmRSS") - StatusBytes("RssShmem"); }
  Amounts Now() const { return {PrivateNow(), memory_ ? memory_->taken_bytes() : 0}; }

  HostMemory* memory_ = HostMemory::OfThisProcess();
  Amounts start_;
  int64_t resident_start_ = 0;
  int64_t shared_start_ = 0;
  std::atomic<int64_t> private_peak_{0};
  std::atomic<bool> done_{false};
  std::thread watcher_;
};

// What any call touches for the first time: code pages, small objects, the transport's buffers.
constexpr int64_t kAllowanceBytes = 8'000'000;

}  // namespace shardcts
