#include "suites/state_dict/resident_memory.h"

#include <fstream>
#include <string>

namespace shardcts::state_dict {
namespace {

// A line of /proc/self/status: "VmRSS:     123 kB".
std::optional<int64_t> StatusBytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    int64_t kibibytes = 0;
    if (word == name + ":" && status >> kibibytes) return kibibytes * 1024;
  }
  return std::nullopt;
}

// Afterwards VmHWM counts from now on.
bool ResetPeak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace

std::optional<int64_t> PeakGrowthBytes(const Trial& t, const std::function<void()>& body) {
  const bool known = t.device() == "cpu" && ResetPeak();
  const std::optional<int64_t> before = StatusBytes("VmRSS");
  body();
  const std::optional<int64_t> peak = StatusBytes("VmHWM");
  if (!known || !before || !peak) return std::nullopt;
  return *peak - *before;
}

}  // namespace shardcts::state_dict
