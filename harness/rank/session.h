// Session: one implementation on one rank, as the tests and scripts of a pool call it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "contract/facade.h"
#include "contract/implementation.h"
#include "contract/operation_table.h"
#include "rank/control_plane.h"
#include "rank/recorder.h"

namespace shardcts {

// A fault of ours: a test or the harness breaks the contract. Ends the test as harness_error.
class HarnessError : public std::exception {
 public:
  explicit HarnessError(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

class Session : public Caller {
 public:
  Session(Implementation& implementation, ControlPlane& control, int rank, int world_size, std::string device);

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  const std::string& device() const override { return device_; }

  // Checks arguments and result against the table: a wrong argument is a HarnessError; a wrong result, or a wrong
  // argument that the implementation itself has given, is an Outcome error of kind "ContractViolation". Keeps
  // collective operations in step (PeerStopped, Diverged) and records. A test and its recording name folders below the
  // test's own, so that neither can write elsewhere; the implementation gets absolute paths.
  Outcome Call(std::string_view operation, Dict arguments) override;

  // *Collective*. Exchanges values of the test between ranks. No operation: the implementation is not involved.
  std::vector<std::string> AllGather(const std::string& bytes) { return control_.AllGatherInTest(bytes); }

  // *Collective*. Runs `body` on the given ranks only, which call collective operations in it, as a subgroup.
  void Among(const std::vector<int64_t>& ranks, const std::function<void()>& body) { control_.Among(ranks, body); }

  // Local. Between two tests: starts a new recording (nullptr: none) and seeds the implementation. `folder`: absolute,
  // the same on all ranks; folders among arguments are below it. Throws OperationFailed when it cannot.
  void StartTest(std::unique_ptr<Recorder> recorder, int64_t seed, std::filesystem::path folder = {});
  // Local. Closes the recording and drops the implementation's handles. What is wrong when it cannot drop them, so
  // that it cannot be used any more; nothing otherwise.
  std::optional<std::string> EndTest();

  // Local. The folder of this name below the test's own, which is made if it is missing. The name is a relative path
  // without dots; an empty one means the test's folder itself. HarnessError: another name, a test without a folder.
  std::string FolderNamed(const std::string& name) const;

  int64_t operations() const { return operations_; }  // of this test
  const std::string& last_operation() const { return last_operation_; }
  int64_t last_step() const { return next_step_ - 1; }

 private:
  Dict WithFolders(const OperationSpec& operation, const Dict& arguments) const;

  Implementation& implementation_;
  ControlPlane& control_;
  int rank_;
  int world_size_;
  std::string device_;
  std::unique_ptr<Recorder> recorder_;
  std::filesystem::path folder_;
  int64_t next_step_ = 0;
  int64_t operations_ = 0;
  std::string last_operation_;
};

}  // namespace shardcts
