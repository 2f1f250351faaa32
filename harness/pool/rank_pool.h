// RankPool: starts the ranks of one world size, watches them through their event files, and makes sure that they end.
// *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "process/processors.h"
#include "results/verdict.h"
#include "run_files/plan.h"

namespace shardcts {

class WarmProcess;

struct PoolLimits {
  std::chrono::milliseconds test{60'000};  // from the first rank's test_started until every rank has left the test
  std::chrono::milliseconds start{180'000};      // from the start of the ranks until all are ready
  std::chrono::milliseconds stop_peers{3'000};  // how long ranks may go on after a peer has failed the test
  std::chrono::milliseconds stacks{5'000};       // how long a hang's stacks may take
  std::chrono::milliseconds finish{20'000};      // from pool_finished of all ranks until their processes have ended
  std::chrono::milliseconds terminate{1'000};    // between SIGTERM and SIGKILL
};

// Without --launcher, and for an implementation that communicates through MPI.
inline constexpr const char* kMpiLauncher = "mpiexec -disable-auto-cleanup -n {ranks}";

struct PoolPlan {
  Plan plan;                               // for the ranks; RunPool fills in host and deadline
  std::filesystem::path rank_program;
  std::string launcher;                    // given by the user, a command line with {ranks}; empty: none
  std::string control_address;             // where ranks of other hosts reach the controller; empty: determined
  PoolLimits limits;
  std::shared_ptr<WarmProcess> warm;       // forks the ranks; nullptr: they start cold
  std::function<Processors()> processors;  // called repeatedly: where the ranks of this host run now; null: anywhere

  // The option comm=mpi: its ranks need a launcher that MPI knows.
  bool UsesMpi() const;
  bool UsesLauncher() const { return !launcher.empty() || UsesMpi(); }
  std::string LauncherWords() const { return launcher.empty() ? kMpiLauncher : launcher; }
};

struct PoolEnd {
  enum class Kind {
    kFinished,     // every test is over
    kBroken,       // a rank crashed, hung or could not be stopped: the tests that are not over need another pool
    kStartFailed,  // the ranks never became ready
    kInputError,   // the ranks say that the command or its input is wrong
    kInterrupted,
  };
  Kind kind = Kind::kFinished;
  std::vector<size_t> cut_short;            // tests that had begun and are not over
  std::string reason;                       // one line; kFinished: what went wrong when the ranks ended, or empty
  std::optional<double> start_seconds;      // until all ranks were ready
  nlohmann::ordered_json implementation;    // what rank 0 said in pool_ready; null before
  bool implementation_failed = false;       // kStartFailed, kInputError: while the ranks made the implementation
  bool warm = false;                        // every rank is a fork of the warm process
};

struct PoolCallbacks {
  std::function<void(const nlohmann::ordered_json& implementation)> on_ready;  // as in PoolEnd
  std::function<void(size_t index)> on_test_started;
  // The test is over: what its ranks said, what the controller saw, seconds on the controller's clock.
  std::function<void(size_t index, const std::vector<RankReport>&, const std::optional<Incident>&, double seconds)>
      on_test_over;
};

// Writes plan.json, starts the ranks and returns when none of their processes is left on this host. Calls
// on_test_over at most once for a test, in the order of the plan, except that a crashed test may overtake an earlier
// one that its crash cut short. Throws InputError when the launcher cannot be started.
PoolEnd RunPool(const PoolPlan& plan, const PoolCallbacks& callbacks, const std::atomic<bool>& interrupted);

}  // namespace shardcts
