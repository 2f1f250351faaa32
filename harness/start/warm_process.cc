#include "start/warm_process.h"

#include <thread>
#include <utility>

#include "process/event_tail.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

std::string LastLogLine(const std::filesystem::path& log) {
  const std::string line = LastLine(log);
  return line.empty() ? "" : "; last log line: " + line;
}

}  // namespace

WarmProcess::WarmProcess(const std::filesystem::path& rank_program, const Json& implementation,
                         const std::filesystem::path& folder)
    : folder_(folder) {
  std::filesystem::create_directories(folder);
  const std::filesystem::path file = folder / "warm.json";
  const Json task = {
      {"socket", socket_}, {"implementation", implementation}, {"event_file", (folder / "events.jsonl").string()}};
  WriteFileAtomically(file, task.dump(1) + "\n");
  process_ = std::make_unique<ChildProcess>(
      ProcessCommand{{rank_program.string(), "--warm", file.string()}, PoolEnvironment(token_), folder / "log"});
}

WarmProcess::~WarmProcess() {
  process_.reset();
  EndProcessesWithEnvironment(kPoolTokenName, token_, milliseconds(0));  // what preloading may have started
}

void WarmProcess::AwaitReady(milliseconds limit, const std::atomic<bool>& interrupted) {
  EventTail events(folder_ / "events.jsonl");
  const auto begin = Clock::now();
  while (Clock::now() - begin < limit && !interrupted) {
    const bool ended = HowItEnded().has_value();
    for (const std::string& line : events.ReadLines()) {
      const Json event = Json::parse(line, nullptr, false);
      if (!event.is_object()) continue;
      if (event.value("event", "") == "warm_failed") throw InputError(event.value("message", "it says no reason"));
      if (event.value("event", "") != "warm_ready") continue;
      seconds_ = std::chrono::duration<double>(Clock::now() - begin).count();
      return;
    }
    if (ended) throw InputError("the warm process ended: " + *HowItEnded() + LastLogLine(folder_ / "log"));
    std::this_thread::sleep_for(milliseconds(5));
  }
  if (interrupted) throw InputError("interrupted");
  throw InputError("the warm process was not ready in time" + LastLogLine(folder_ / "log"));
}

std::optional<std::string> WarmProcess::HowItEnded() {
  const std::lock_guard lock(mutex_);
  const std::optional<int> status = process_->Poll();
  return status ? std::optional(DescribeStatus(*status)) : std::nullopt;
}

WarmStart::WarmStart(std::filesystem::path rank_program, Json implementation, std::filesystem::path run_folder)
    : rank_program_(std::move(rank_program)),
      implementation_(std::move(implementation)),
      run_folder_(std::move(run_folder)) {}

std::string WarmStart::KeyOf(const Json& implementation) {
  return Json{implementation.at("source"), implementation.at("options"), implementation.at("device")}.dump();
}

std::string WarmStart::WhatStandsAgainstIt() const {
  if (implementation_.at("device") != "cpu") return "a device other than the CPU is not opened before a fork";
  const std::filesystem::path program = StartProgram(rank_program_);
  return std::filesystem::exists(program) ? "" : program.string() + ": there is no such program";
}

std::shared_ptr<WarmProcess> WarmStart::Get(milliseconds limit, const std::atomic<bool>& interrupted) {
  const std::lock_guard lock(mutex_);
  if (process_ && !process_->HowItEnded()) return process_;
  process_.reset();
  if (problem_.empty()) problem_ = WhatStandsAgainstIt();
  if (!problem_.empty()) return nullptr;
  const std::string folder = FolderName(implementation_.at("label").get<std::string>());
  try {
    const auto process = std::make_shared<WarmProcess>(
        rank_program_, implementation_, run_folder_ / "runs" / folder / ("warm-" + std::to_string(starts_++)));
    process->AwaitReady(limit, interrupted);
    process_ = process;
  } catch (const InputError& error) {
    problem_ = error.what();
  }
  return process_;
}

std::string WarmStart::Problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

void WarmStart::GiveUp(const std::string& problem) {
  const std::lock_guard lock(mutex_);
  process_.reset();
  problem_ = problem;
}

std::filesystem::path StartProgram(const std::filesystem::path& rank_program) {
  return rank_program.parent_path() / "shardcts-start-rank";
}

}  // namespace shardcts
