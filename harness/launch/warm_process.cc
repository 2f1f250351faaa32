#include "launch/warm_process.h"

#include <thread>

#include "launch/event_tail.h"
#include "launch/input_error.h"
#include "launch/run_folder.h"

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
  const std::optional<int> status = process_->Poll();
  return status ? std::optional(DescribeStatus(*status)) : std::nullopt;
}

WarmProcess* WarmStart::For(const std::filesystem::path& rank_program, const Json& implementation,
                            const std::filesystem::path& run_folder, milliseconds limit,
                            const std::atomic<bool>& interrupted) {
  const Json key = {implementation.at("source"), implementation.at("options"), implementation.at("device")};
  if (key != key_) *this = {};
  key_ = key;
  if (!problem_.empty()) return nullptr;
  if (process_ && !process_->HowItEnded()) return process_.get();
  if (implementation.at("device") != "cpu") GiveUp("a device other than the CPU is not opened before a fork");
  if (!std::filesystem::exists(StartProgram(rank_program))) {
    GiveUp(StartProgram(rank_program).string() + ": there is no such program");
  }
  if (!problem_.empty()) return nullptr;
  const std::string label = implementation.at("label").get<std::string>();
  const std::filesystem::path folder = run_folder / "runs" / FolderName(label) / ("warm-" + std::to_string(starts_++));
  try {
    process_.reset();
    process_ = std::make_unique<WarmProcess>(rank_program, implementation, folder);
    process_->AwaitReady(limit, interrupted);
  } catch (const InputError& error) {
    GiveUp(error.what());
  }
  return process_.get();
}

void WarmStart::GiveUp(const std::string& problem) {
  process_.reset();
  problem_ = problem;
}

std::filesystem::path StartProgram(const std::filesystem::path& rank_program) {
  return rank_program.parent_path() / "shardcts-start-rank";
}

}  // namespace shardcts
