#include "start/warm_process.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "process/event_tail.h"
#include "process/orphans.h"
#include "process/pool_temporaries.h"
#include "process/watched_time.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/plan.h"
#include "run_files/run_folder.h"
#include "start/rank_processes.h"
#include "start/warm_server.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

constexpr milliseconds kForkLimit{10'000};
constexpr milliseconds kLookAtInterrupted{20};

std::pair<Descriptor, Descriptor> SocketPair() {
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    throw InputError(std::string("socketpair: ") + std::strerror(errno));
  }
  return {Descriptor(sockets[0]), Descriptor(sockets[1])};
}

// Whether ranks may be forks where this is the device under test. The emulated accelerator is made at its first use.
bool SurvivesFork(const std::string& device) { return device == "cpu" || device == "hostdev"; }

std::string LastLogLine(const std::filesystem::path& log) {
  const std::string line = LastLine(log);
  return line.empty() ? "" : "; last log line: " + line;
}

}  // namespace

WarmProcess::WarmProcess(const std::filesystem::path& rank_program, const ImplementationSpec& implementation,
                         const std::filesystem::path& folder)
    : folder_(folder) {
  std::filesystem::create_directories(folder);
  const std::filesystem::path file = folder / "warm.json";
  WriteFileAtomically(file, Json{{"implementation", ToJson(implementation)}}.dump(1) + "\n");
  MakePoolTemporaries(token_);
  auto [own, given] = SocketPair();
  socket_ = std::move(own);
  ProcessCommand command{{rank_program.string(), "--warm", file.string()}, PoolEnvironment(token_), folder / "log"};
  command.descriptor = given.number();
  command.signal_at_controllers_end = SIGKILL;
  process_ = std::make_unique<ChildProcess>(command);
}

WarmProcess::~WarmProcess() {
  process_.reset();
  EndByToken(token_, milliseconds(0));  // what preloading may have started
  RemovePoolTemporaries(token_);
}

std::string WarmProcess::Receive(milliseconds limit) {
  pollfd watched{socket_.number(), POLLIN, 0};
  if (::poll(&watched, 1, static_cast<int>(limit.count())) != 1) return "";
  std::string message(kMaxWarmMessageBytes, '\0');
  const ssize_t got = ::recv(socket_.number(), message.data(), message.size(), MSG_DONTWAIT);
  message.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return message;
}

bool WarmProcess::TakeEnd(const std::string& message) {
  const Json json = Json::parse(message, nullptr, false);
  if (!json.is_object() || !json.contains("ended")) return false;
  statuses_[json.value("ended", pid_t{0})] = json.value("status", 0);
  return true;
}

void WarmProcess::AwaitReady(milliseconds limit, const std::atomic<bool>& interrupted) {
  const std::lock_guard lock(mutex_);
  WatchedTime time;
  const auto begin = time.Now();
  while (time.Now() - begin < limit && !interrupted) {
    const Json said = Json::parse(Receive(kLookAtInterrupted), nullptr, false);
    if (said.is_object() && said.contains("failed")) throw InputError(said.value("failed", ""));
    if (said.is_object() && said.contains("ready")) {
      seconds_ = std::chrono::duration<double>(time.Now() - begin).count();
      std::ranges::copy(ChildrenOf(process_->pid()), std::inserter(own_, own_.end()));
      return;
    }
    if (const std::optional<int> status = process_->Poll()) {
      throw InputError("the warm process ended: " + DescribeStatus(*status) + LastLogLine(folder_ / "log"));
    }
  }
  if (interrupted) throw InputError("interrupted");
  throw InputError("the warm process was not ready in time" + LastLogLine(folder_ / "log"));
}

std::vector<pid_t> WarmProcess::Fork(const std::filesystem::path& plan_file, int ranks, const std::string& token) {
  const std::lock_guard lock(mutex_);
  const std::string request = Json{{"plan", plan_file.string()}, {"ranks", ranks}, {"token", token}}.dump();
  if (::send(socket_.number(), request.data(), request.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    throw std::runtime_error(std::string("the warm process cannot be asked: ") + std::strerror(errno));
  }
  WatchedTime time;
  for (const auto until = time.Now() + kForkLimit; time.Now() < until;) {
    const std::string message = Receive(kLookAtInterrupted);
    if (message.empty() && process_->Poll()) throw std::runtime_error("the warm process ended");
    if (message.empty() || TakeEnd(message)) continue;
    const Json said = Json::parse(message, nullptr, false);
    if (said.is_object() && said.contains("forked")) {
      const auto pids = said["forked"].get<std::vector<pid_t>>();
      own_.insert(pids.begin(), pids.end());
      return pids;
    }
    const bool refused = said.is_object() && said.contains("refused");
    throw std::runtime_error("the warm process forks no ranks: " +
                             (refused ? said.value("refused", "") : "it answers " + Bounded(message, kMaxNameBytes)));
  }
  throw std::runtime_error("the warm process has not forked the ranks within " + std::to_string(kForkLimit.count() / 1000) +
                   " s");
}

std::optional<int> WarmProcess::StatusOf(pid_t rank) {
  const std::lock_guard lock(mutex_);
  for (std::string message = Receive(milliseconds(0)); !message.empty(); message = Receive(milliseconds(0))) {
    TakeEnd(message);
  }
  const auto found = statuses_.find(rank);
  return found == statuses_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<pid_t> WarmProcess::EndOrphans(const std::vector<pid_t>& ranks, milliseconds grace) {
  const auto find = [&] {
    const std::lock_guard lock(mutex_);  // no ranks are forked meanwhile
    for (const pid_t rank : ranks) own_.erase(rank);
    std::vector<pid_t> orphans = ChildrenOf(process_->pid());
    std::erase_if(orphans, [&](pid_t pid) { return own_.contains(pid); });
    return orphans;
  };
  return EndAll(find, grace);
}

std::optional<std::string> WarmProcess::HowItEnded() {
  const std::lock_guard lock(mutex_);
  const std::optional<int> status = process_->Poll();
  return status ? std::optional(DescribeStatus(*status)) : std::nullopt;
}

WarmStart::WarmStart(std::filesystem::path rank_program, ImplementationSpec implementation,
                     std::filesystem::path run_folder)
    : rank_program_(std::move(rank_program)),
      implementation_(std::move(implementation)),
      run_folder_(std::move(run_folder)) {}

std::string WarmStart::KeyOf(const ImplementationSpec& implementation) {
  // For Python only PyTorch itself and its adapter are loaded, whatever the options are.
  if (implementation.source == "torch" || implementation.source.starts_with("python:")) {
    return Json{implementation.source, SurvivesFork(implementation.device)}.dump();
  }
  return Json{implementation.source, implementation.options, implementation.device}.dump();
}

std::shared_ptr<WarmProcess> WarmStart::Get(milliseconds limit, const std::atomic<bool>& interrupted) {
  const std::lock_guard lock(mutex_);
  if (process_ && !process_->HowItEnded()) return process_;
  process_.reset();
  if (!SurvivesFork(implementation_.device)) {
    problem_ = "a device other than the CPU and the emulated accelerator is not opened before a fork";
  }
  if (!problem_.empty()) return nullptr;
  const std::string folder = FolderName(implementation_.label);
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

}  // namespace shardcts
