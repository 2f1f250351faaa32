// The warm process: has loaded once what every rank needs, and forks the ranks (docs/design.md, "Warm start"). *Local*;
// Linux. The whole process has one thread.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace shardcts {

// What the warm process is told: OUT/runs/IMPL/warm-K/warm.json (docs/formats.md).
struct WarmTask {
  std::string socket;
  std::string source;  // of the implementation
  std::map<std::string, std::string> options;
  std::filesystem::path event_file;
};

// Throws InputError naming the file.
WarmTask ReadWarmTask(const std::filesystem::path& file);

// Loads what every rank of the implementation needs. Must leave no thread behind. Throws std::exception when that
// cannot be done: its text is the reason why the ranks start cold.
using Preload = std::function<void(const WarmTask&)>;

// Preloads, says `warm_ready` and forks a rank for each request, until the process is killed. Returns in the ranks
// only: it gives the words of their command line, and they have the descriptors, environment and signals of the process
// that asked. When preloading fails, or has left threads, says `warm_failed` and ends the process.
//
// A rank ends by SIGKILL when the process that asked for it ends, and when this one does. It leads a session of its
// own, and /proc/PID/environ shows its own SHARDCTS_POOL_TOKEN.
std::vector<std::string> ForkRanks(const WarmTask& task, const Preload& preload);

}  // namespace shardcts
