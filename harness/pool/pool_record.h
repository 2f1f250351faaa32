// PoolRecord: the events of a pool's ranks, combined. Pure bookkeeping, no processes, no clock.
// *Local*.
//
// Ranks run the pool's tests in the same order; a rank has *left* a test when it has started a later one or has
// written pool_finished. A test is over when every rank has left it, so that a failure of its clean-up still counts for
// it.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "run_files/events.h"
#include "run_files/plan.h"

namespace shardcts {

// An event line does not follow docs/formats.md.
class ProtocolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct RankState {
  bool started = false;
  pid_t pid = 0;
  std::string host;
  int stack_signal = 0;                       // 0: it has none
  bool warm = false;                          // a fork of the warm process
  bool loading = false;                       // of implementation_started: it makes the implementation, or has it
  bool ready = false;
  double ready_seconds = 0;
  nlohmann::ordered_json implementation;      // of pool_ready
  std::optional<std::string> failed_kind;     // of pool_failed: "input" or "harness"
  std::string failed_message;
  std::optional<int> crashed_signal;          // of rank_crashed
  bool orphaned = false;                      // of rank_orphaned
  std::optional<size_t> last_started;         // index of the test that this rank started last
  bool pool_finished = false;
};

class PoolRecord {
 public:
  // `phases`: which phase of each test; empty: no test has phases.
  PoolRecord(std::vector<std::string> tests, int world_size, std::vector<std::optional<PlannedPhase>> phases = {});

  // Takes one line of rank `rank`'s event file. Throws ProtocolError naming the rank.
  void Apply(int rank, const std::string& line);

  const std::vector<std::string>& tests() const { return tests_; }
  const std::vector<RankState>& ranks() const { return ranks_; }
  const std::vector<RankReport>& Reports(size_t test) const { return reports_[test]; }

  bool AllReady() const;
  bool AllPoolFinished() const;
  // The pool_failed event that counts, one of kind input before any other, and its rank.
  std::optional<int> FailedRank() const;

  bool StartedByAny(size_t test) const;
  bool FinishedByAll(size_t test) const;
  bool LeftByAll(size_t test) const;
  // Some rank has finished the test in a way that makes its peers stop: fail, diverged, not_supported, harness_error.
  // The first such rank.
  std::optional<int> RankThatStopped(size_t test) const;
  // Ranks that have not finished the test are recorded as aborted with this reason.
  void AbortUnfinished(size_t test, const std::string& reason);
  // The first test that has been started and not left by all; nullopt between tests.
  std::optional<size_t> Running() const;

 private:
  void ApplyEvent(int rank, const std::string& name, const nlohmann::ordered_json& event);
  void StartTest(int rank, const nlohmann::ordered_json& event);
  void FinishTest(int rank, const nlohmann::ordered_json& event);
  size_t TestIndex(const nlohmann::ordered_json& event) const;

  std::vector<std::string> tests_;
  std::vector<std::optional<PlannedPhase>> phases_;  // one for each test
  std::vector<RankState> ranks_;
  std::vector<std::vector<RankReport>> reports_;  // [test][rank]
  size_t first_open_ = 0;                         // every test before it is left by all
};

}  // namespace shardcts
