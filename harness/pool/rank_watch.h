// RankWatch: everything that the controller can see of a pool's ranks: their events, their processes, their
// connections.
// *Local*.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/hub.h"
#include "pool/pool_record.h"
#include "pool/rank_pool.h"
#include "process/event_tail.h"
#include "process/process.h"
#include "process/processors.h"
#include "start/rank_processes.h"

namespace shardcts {

class RankWatch {
 public:
  explicit RankWatch(const PoolPlan& plan);

  // Writes the plan, listens, starts the ranks. Throws InputError when the launcher cannot be started,
  // std::runtime_error when the warm process forks no ranks.
  void Start();
  // Ends all processes. What could not be ended, else empty.
  std::string End();

  const PoolRecord& record() const { return record_; }
  PoolRecord& record() { return record_; }
  RankProcesses& processes() { return *processes_; }
  ControlHub& hub() { return *hub_; }

  // Reads what the ranks have written since the last call. True: there was something. Throws ProtocolError, with rank()
  // of the event.
  bool ReadEvents();
  int reading() const { return reading_; }  // the rank whose events are read
  // Binds the ranks of this host to the processors that the plan gives them now.
  void BindRanks();
  // Sleeps until a process or a connection ends, at most for this time. Cuts logs that are too long.
  void Wait(std::chrono::milliseconds limit);

  // By rank: its process has ended, as far as is known, or its connection has ended without a farewell. If it has a rank
  // that ended because a peer was gone, it has that peer, too.
  std::vector<bool> EndedRanks();
  // Its process is on this host and running.
  bool IsAlive(int rank) const;

  // "; last log line: …" of the rank's log, -1: of the launcher's; empty when there is none.
  std::string LastLogLine(int rank) const;
  // The operation of each rank, and the innermost frames of those on this host, on one line. The complete stack traces
  // are written to their logs.
  std::string DescribeStuckRanks(std::chrono::milliseconds limit);

 private:
  void NoteProcess(size_t rank);
  void LimitLogs();

  const PoolPlan& plan_;
  const std::string token_ = MakePoolToken();
  const std::string host_ = HostName();
  PoolRecord record_;
  std::vector<EventTail> tails_;
  std::vector<std::optional<WatchedProcess>> watched_;  // ranks of this host
  std::vector<Processors> bound_to_;                    // by rank
  std::unique_ptr<ControlHub> hub_;
  std::unique_ptr<RankProcesses> processes_;
  int reading_ = 0;
  std::chrono::steady_clock::time_point logs_limited_;
};

}  // namespace shardcts
