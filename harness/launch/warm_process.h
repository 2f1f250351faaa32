// The controller's side of a warm start: starts the warm process of an implementation and keeps it (docs/design.md,
// "Warm start"). *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "launch/process.h"

namespace shardcts {

// One warm process, from its start to its end. When it dies, its ranks die.
class WarmProcess {
 public:
  // Starts it with what it needs in `folder`, which is made; does not wait for it. `implementation` as in plan.json.
  WarmProcess(const std::filesystem::path& rank_program, const nlohmann::ordered_json& implementation,
              const std::filesystem::path& folder);
  ~WarmProcess();  // leaves nothing behind

  // Waits until it can fork ranks. Throws InputError saying why it cannot.
  void AwaitReady(std::chrono::milliseconds limit, const std::atomic<bool>& interrupted);

  // "Killed (signal 9)" when it has ended, else nullopt.
  std::optional<std::string> HowItEnded();

  const std::string& socket() const { return socket_; }
  double seconds() const { return seconds_; }  // until it was ready

 private:
  const std::filesystem::path folder_;
  const std::string token_ = MakePoolToken();
  const std::string socket_ = "shardcts-" + token_;
  double seconds_ = 0;
  std::unique_ptr<ChildProcess> process_;
};

// The warm process that the pools of a run share: one at a time.
class WarmStart {
 public:
  // The warm process for pools of this implementation, alive and ready; made when there is none, in
  // OUT/runs/IMPL/warm-K. nullptr when the ranks have to start cold; Problem() says why. A process that did not become
  // ready is not tried again.
  WarmProcess* For(const std::filesystem::path& rank_program, const nlohmann::ordered_json& implementation,
                   const std::filesystem::path& run_folder, std::chrono::milliseconds limit,
                   const std::atomic<bool>& interrupted);
  const std::string& Problem() const { return problem_; }
  // Later pools of this implementation start cold.
  void GiveUp(const std::string& problem);

 private:
  nlohmann::ordered_json key_;  // what the warm process was made for
  int starts_ = 0;
  std::unique_ptr<WarmProcess> process_;
  std::string problem_;
};

// shardcts-start-rank, beside the rank program.
std::filesystem::path StartProgram(const std::filesystem::path& rank_program);

}  // namespace shardcts
