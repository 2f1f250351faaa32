// The warm process: has loaded once what every rank needs, and forks the ranks (docs/design.md, "Starting ranks").
// *Local*; Linux. The process has a single thread.
//
// It and the controller are the two ends of a socket (SOCK_SEQPACKET, kGivenDescriptor), one JSON object to a message:
//   {"ready": SECONDS} or {"failed": REASON}                          once, to the controller
//   {"plan": FILE, "ranks": N, "token": TOKEN}                        to the warm process
//   {"forked": [PID, …]} or {"refused": REASON}                       the answer
//   {"ended": PID, "status": S}                                       of each rank (waitpid's form)
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "run_files/implementation_spec.h"

namespace shardcts {

inline constexpr size_t kMaxWarmMessageBytes = 1 << 16;

// Loads what every rank of the implementation needs. Must leave no thread behind. Throws std::exception when that
// cannot be done: its text is the reason why the ranks start cold.
using Preload = std::function<void(const ImplementationSpec& implementation)>;

// `task`: OUT/runs/IMPL/warm-K/warm.json (docs/formats.md). Preloads, reports that it is ready and forks ranks, until
// the controller closes the socket or the process is killed. Returns in the ranks only: the words of their command
// line. When preloading fails, or has left threads, says why and ends the process. Throws InputError naming the file.
//
// A rank ends by SIGKILL when this process does. It leads a session of its own, and /proc/PID/environ shows its pool's
// SHARDCTS_POOL_TOKEN.
std::vector<std::string> ForkRanks(const std::filesystem::path& task, const Preload& preload);

}  // namespace shardcts
