// A save whose files are written while the caller goes on.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "storage/save_steps.h"

namespace shardcts::reference {

// Plans and copies at the call, writes this rank's files in a thread, and publishes in Wait. The thread does not
// communicate, so that no collective of a training can be taken for one of the save. Until Wait has ended the checkpoint
// is the one that was there before.
class AsyncSave {
 public:
  // *Collective* over the group, which the save keeps. CheckpointException on every rank: what can be known before
  // anything is written.
  AsyncSave(std::shared_ptr<Communicator> group, Files& files, const Dict& state_dict, const SaveSettings& settings);
  // Waits for the thread. A save that nobody has waited for leaves nothing behind.
  ~AsyncSave();

  // *Local*. Whether this rank has written its files, or failed.
  bool IsWritten() const { return written_; }
  // *Collective* over the group the first time; later it is *Local* and gives the same. What users should be told.
  // CheckpointException on every rank, naming those that failed.
  const std::vector<std::string>& Wait();

 private:
  void Write();
  void WaitAndPublish();

  const std::shared_ptr<Communicator> group_;
  std::optional<SaveSteps> steps_;
  std::atomic<bool> written_ = false;
  Value part_;
  std::exception_ptr failure_;           // of the thread
  std::optional<std::string> complaint_;  // of Wait
  std::optional<std::vector<std::string>> told_;
  std::thread thread_;
};

}  // namespace shardcts::reference
