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

// The exit code of a rank that ends because it has lost a peer or the controller.
inline constexpr int kPeerGoneExitCode = 4;

class RankProcesses {
 public:
  virtual ~RankProcesses() = default;

  // The rank's process, if it is known from the start. nullopt: the rank's event file has it.
  virtual std::optional<pid_t> PidOf(int rank) const = 0;
  // How the rank ended (waitpid's form), when it has and that can be known.
  virtual std::optional<int> StatusOf(int rank) = 0;
  // The process that all ranks depend on has ended: "the warm process", and how. nullopt: it has not, or there is
  // none.
  virtual std::optional<std::string> SupportEnded() = 0;
  // Set when every process has ended: the failure, as in "rank 1: exit code 3", or empty if there was none.
  virtual std::optional<std::string> AllEnded() = 0;
  // The log of output that is no rank's own; empty: there is none.
  virtual std::filesystem::path log() const { return {}; }
  // Ends all processes that were started, which have `token` in their environment, and what ended ranks have left
  // behind. Returns those that could not be ended, else an empty text.
  virtual std::string End(const std::string& token, std::chrono::milliseconds grace) = 0;
};

// Ends all processes with this token in their environment, and all that ended ranks have left to this process
// (process/orphans.h). Returns as RankProcesses::End.
std::string EndByToken(const std::string& token, std::chrono::milliseconds grace);

// The plan has been written; the processes get SHARDCTS_POOL_TOKEN=token. Two throw InputError when a program cannot be
// started.

// Forks of the warm process. Throws std::runtime_error; some may have been started.
std::unique_ptr<RankProcesses> ForkWarmRanks(std::shared_ptr<WarmProcess> warm, const Plan& plan,
                                             const std::string& token);
// Children of the controller.
std::unique_ptr<RankProcesses> StartColdRanks(const std::filesystem::path& rank_program, const Plan& plan,
                                              const std::string& token);
// Ranks that a launcher starts, on one or several hosts. `launcher`: its command line; {ranks} is replaced by their
// number.
std::unique_ptr<RankProcesses> LaunchRanks(const std::string& launcher, const std::filesystem::path& rank_program,
                                           const Plan& plan, const std::string& token);

}  // namespace shardcts
