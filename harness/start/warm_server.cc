#include "start/warm_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "control/descriptor.h"
#include "process/pool_temporaries.h"
#include "process/process.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/plan.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

int ThreadCount() {
  int count = 0;
  for ([[maybe_unused]] const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

struct ForkedRank {
  pid_t pid = -1;
  Descriptor process;  // pidfd
};

class WarmServer {
 public:
  WarmServer() : socket_(kGivenDescriptor), token_(std::getenv(kPoolTokenName)) {
    if (token_ == nullptr) throw InputError(std::string(kPoolTokenName) + " is not set");
  }

  void Say(const Json& message) const {
    const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (::send(socket_.number(), text.data(), text.size(), MSG_NOSIGNAL) < 0) EndWithRanks();
  }

  // Returns in the ranks.
  std::vector<std::string> Serve() {
    while (true) {
      AwaitNews();
      TellEndedRanks();
      const std::optional<Json> request = NextRequest();
      if (!request) continue;
      if (std::optional<std::vector<std::string>> words = ForkFor(*request)) return *words;
    }
  }

 private:
  void AwaitNews() const {
    std::vector<pollfd> watched = {{socket_.number(), POLLIN, 0}};
    for (const ForkedRank& rank : ranks_) watched.push_back({rank.process.number(), POLLIN, 0});
    ::poll(watched.data(), watched.size(), -1);
  }

  // Others than ranks are what ended ranks have left behind (process/orphans.h), and the controller has ended.
  void TellEndedRanks() {
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      if (std::erase_if(ranks_, [&](const ForkedRank& rank) { return rank.pid == pid; }) == 0) continue;
      Say({{"ended", pid}, {"status", status}});
    }
  }

  std::optional<Json> NextRequest() const {
    std::string text(kMaxWarmMessageBytes, '\0');
    const ssize_t got = ::recv(socket_.number(), text.data(), text.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
    if (got <= 0) EndWithRanks();
    return Json::parse(text.begin(), text.begin() + got, nullptr, false);
  }

  // The controller is gone.
  [[noreturn]] void EndWithRanks() const {
    for (const ForkedRank& rank : ranks_) ::kill(rank.pid, SIGKILL);
    ::_exit(0);
  }

  // The command line when this is a forked rank.
  std::optional<std::vector<std::string>> ForkFor(const Json& request) {
    try {
      const std::string plan = request.at("plan");
      const std::string token = request.at("token");
      const int ranks = request.at("ranks");
      if (token.size() != std::strlen(token_)) throw std::runtime_error("a token of another length");
      Json forked = Json::array();
      for (int rank = 0; rank < ranks; ++rank) {
        const pid_t pid = ForkOne(token);
        if (pid == 0) return {{"shardcts-rank", "--plan", plan, "--rank", std::to_string(rank)}};
        forked.push_back(pid);
      }
      Say({{"forked", forked}});
    } catch (const std::exception& error) {
      Say({{"refused", OneLine(error.what())}});
    }
    return std::nullopt;
  }

  // 0 in the rank.
  pid_t ForkOne(const std::string& token) {
    std::fflush(nullptr);
    const pid_t server = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::memcpy(token_, token.data(), token.size());
      if (::getppid() != server) ::_exit(1);
      ::setsid();
      ::prctl(PR_SET_NAME, "shardcts-rank");
      ranks_.clear();
      socket_.Close();
      return 0;
    }
    ranks_.push_back({pid, Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)))});
    return pid;
  }

  Descriptor socket_;
  char* const token_;  // in the memory that /proc/self/environ shows
  std::list<ForkedRank> ranks_;
};

ImplementationSpec ReadTask(const std::filesystem::path& file) {
  const Json json = ReadJsonFile(file);
  try {
    return ImplementationFromJson(json.at("implementation"));
  } catch (const Json::exception& error) {
    throw InputError(file.string() + ": " + error.what());
  }
}

}  // namespace

std::vector<std::string> ForkRanks(const std::filesystem::path& task, const Preload& preload) {
  ::prctl(PR_SET_NAME, "shardcts-warm");
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::syscall(SYS_close_range, kGivenDescriptor + 1, ~0u, 0);
  ::fcntl(kGivenDescriptor, F_SETFD, FD_CLOEXEC);
  UsePoolTemporaries();
  WarmServer server;
  const auto begin = std::chrono::steady_clock::now();
  try {
    preload(ReadTask(task));
    if (const int threads = ThreadCount(); threads != 1) {
      throw std::runtime_error("preloading left " + std::to_string(threads) + " threads, and only one can be forked");
    }
  } catch (const std::exception& error) {
    server.Say({{"failed", OneLine(error.what())}});
    std::_Exit(3);
  }
  server.Say({{"ready", std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()}});
  return server.Serve();
}

}  // namespace shardcts
