// RankProcesses: the processes of a pool's ranks, however they are started. *Local*; Linux. One thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "run_files/plan.h"

namespace shardcts {

class WarmProcess;

// A rank that leaves because a peer, or the controller, is gone for it ends with this exit code.
inline constexpr int kPeerGoneExitCode = 4;

class RankProcesses {
 public:
  virtual ~RankProcesses() = default;

  // The rank's process where it is known from the start. nullopt: the rank tells it in its event file.
  virtual std::optional<pid_t> PidOf(int rank) const = 0;
  // How the rank ended (waitpid's form), when it has and that can be known.
  virtual std::optional<int> StatusOf(int rank) = 0;
  // The process without which no rank lives has ended: "the warm process", and how. nullopt: it has not, or there is
  // none.
  virtual std::optional<std::string> SupportEnded() = 0;
  // Every process has ended. What that came to when it was not well: "rank 1: exit code 3"; else empty.
  virtual std::optional<std::string> AllEnded() = 0;
  // What is not a rank's own output; empty: there is no such log.
  virtual std::filesystem::path log() const { return {}; }
  // Nothing is left of what was started; `token` is in its environment. What could not be ended, else empty.
  virtual std::string End(const std::string& token, std::chrono::milliseconds grace) = 0;
};

// The plan has been written; the processes get SHARDCTS_POOL_TOKEN=token. Two throw InputError when a program cannot be
// started.

// Forks of the warm process. Throws std::runtime_error; some may have been started.
std::unique_ptr<RankProcesses> ForkWarmRanks(std::shared_ptr<WarmProcess> warm, const Plan& plan,
                                             const std::string& token);
// Children of the controller.
std::unique_ptr<RankProcesses> StartColdRanks(const std::filesystem::path& rank_program, const Plan& plan,
                                              const std::string& token);
// What a launcher starts, on one or several hosts. `launcher`: its words; {ranks} stands for how many.
std::unique_ptr<RankProcesses> LaunchRanks(const std::string& launcher, const std::filesystem::path& rank_program,
                                           const Plan& plan, const std::string& token);

}  // namespace shardcts
