// The controller's side of a warm start: starts the warm process of an implementation and keeps it (docs/design.md,
// "Warm start"). *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "process/process.h"

namespace shardcts {

// One warm process, from its start to its end. When it dies, its ranks die. The kernel ends it with the thread that made
// it. Several threads may ask how it ended.
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
  std::mutex mutex_;  // of process_, which is polled
  std::unique_ptr<ChildProcess> process_;
};

// The warm processes of one implementation, one at a time, for pools that may run on several threads.
class WarmStart {
 public:
  // `implementation` as in plan.json. A process is started in OUT/runs/IMPL/warm-K when a pool first asks for one.
  WarmStart(std::filesystem::path rank_program, nlohmann::ordered_json implementation,
            std::filesystem::path run_folder);

  // Implementations with the same key can share a warm process: mutants do with what they are made of.
  static std::string KeyOf(const nlohmann::ordered_json& implementation);

  // The warm process, alive and ready; made when there is none. nullptr when the ranks have to start cold; Problem()
  // says why. A process that did not become ready is not tried again.
  std::shared_ptr<WarmProcess> Get(std::chrono::milliseconds limit, const std::atomic<bool>& interrupted);
  std::string Problem() const;
  // Later pools start cold.
  void GiveUp(const std::string& problem);

 private:
  std::string WhatStandsAgainstIt() const;  // empty: nothing

  const std::filesystem::path rank_program_;
  const nlohmann::ordered_json implementation_;
  const std::filesystem::path run_folder_;
  mutable std::mutex mutex_;
  int starts_ = 0;
  std::shared_ptr<WarmProcess> process_;
  std::string problem_;
};

// shardcts-start-rank, beside the rank program.
std::filesystem::path StartProgram(const std::filesystem::path& rank_program);

}  // namespace shardcts
