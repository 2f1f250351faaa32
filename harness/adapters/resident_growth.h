// Memory that tests measure on the resident set of real ranks.
#pragma once

#include <malloc.h>

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

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
// malloc learns to keep it, and the resident set shows memory that nobody holds.
inline void ReturnWhatIsFreed() { mallopt(M_MMAP_THRESHOLD, 1 << 20); }

// *Local*. Of this process, over what was resident when it was made.
class ResidentGrowth {
 public:
  ResidentGrowth() {
    malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5" << std::flush;  // the peak becomes what is resident now
    start_ = StatusBytes("VmRSS");
  }
  int64_t PeakBytes() const { return StatusBytes("VmHWM") - start_; }
  int64_t BytesNow() const { return StatusBytes("VmRSS") - start_; }

 private:
  int64_t start_ = 0;
};

// What any call touches for the first time on one of two ranks: the transport's shared memory (of our MPI all-gather 16
// slots of 256 KiB for each rank), code pages, small objects.
constexpr int64_t kResidentAllowanceBytes = 2 * 16 * (256 << 10) + 4'000'000;

}  // namespace shardcts
