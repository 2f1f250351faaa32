// The controller's side of a warm start: starts the warm process of an implementation and has it fork ranks
// (docs/design.md, "Starting ranks"). *Local*; Linux.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/descriptor.h"
#include "process/process.h"
#include "run_files/implementation_spec.h"

namespace shardcts {

// One warm process, from its start to its end. When it dies, its ranks die. The kernel ends it with the thread that
// made it. Several threads may use it.
class WarmProcess {
 public:
  // Starts it with what it needs in `folder`, which is made; does not wait for it.
  WarmProcess(const std::filesystem::path& rank_program, const ImplementationSpec& implementation,
              const std::filesystem::path& folder);
  ~WarmProcess();  // ends the process

  // Waits until it can fork ranks. Throws InputError saying why it cannot.
  void AwaitReady(std::chrono::milliseconds limit, const std::atomic<bool>& interrupted);

  // Has it fork the ranks of this plan, with this token: their process ids, by rank. Throws std::runtime_error saying
  // why that was not done; then it cannot be used any more.
  std::vector<pid_t> Fork(const std::filesystem::path& plan_file, int ranks, const std::string& token);

  // How one of its ranks has ended (waitpid's form), once it has.
  std::optional<int> StatusOf(pid_t rank);

  // Ends what ended ranks have left to it (process/orphans.h). `ranks`: that have to be over by now. Returns those that
  // are left.
  std::vector<pid_t> EndOrphans(const std::vector<pid_t>& ranks, std::chrono::milliseconds grace);

  // "Killed (signal 9)" when it has ended, else nullopt.
  std::optional<std::string> HowItEnded();

  double seconds() const { return seconds_; }  // until it was ready

 private:
  // With the lock held. Its next message; empty: none within the limit, or it has ended.
  std::string Receive(std::chrono::milliseconds limit);
  // True when it is the end of a rank, which is written down.
  bool TakeEnd(const std::string& message);

  const std::filesystem::path folder_;
  const std::string token_ = MakePoolToken();
  Descriptor socket_;
  double seconds_ = 0;
  std::mutex mutex_;  // of the following
  std::unique_ptr<ChildProcess> process_;
  std::map<pid_t, int> statuses_;
  std::set<pid_t> own_;  // what preloading has started, and ranks whose pool is not over
};

// The warm processes of one implementation, one at a time, for pools that may run on several threads.
class WarmStart {
 public:
  // A process is started in OUT/runs/IMPL/warm-K when a pool first asks for one.
  WarmStart(std::filesystem::path rank_program, ImplementationSpec implementation, std::filesystem::path run_folder);

  // Implementations with the same key can share a warm process: a mutant shares that of its implementation, a
  // Python adapter those of its other options.
  static std::string KeyOf(const ImplementationSpec& implementation);

  // The warm process, running and ready; made when there is none. nullptr when the ranks have to start cold; Problem()
  // has the reason. A process that did not become ready is not tried again.
  std::shared_ptr<WarmProcess> Get(std::chrono::milliseconds limit, const std::atomic<bool>& interrupted);
  std::string Problem() const;
  // Later pools start cold.
  void GiveUp(const std::string& problem);

 private:
  const std::filesystem::path rank_program_;
  const ImplementationSpec implementation_;
  const std::filesystem::path run_folder_;
  mutable std::mutex mutex_;
  int starts_ = 0;
  std::shared_ptr<WarmProcess> process_;
  std::string problem_;
};

}  // namespace shardcts
