#include "start/warm_server.h"

#include <dirent.h>
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
#include <fstream>
#include <list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>

#include "process/process.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "start/warm_protocol.h"

extern char** environ;

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kPatience{5'000};  // for one request
// The warm process's own descriptors lie above those that a rank is likely to be given by its launcher.
constexpr int kLowestOwnDescriptor = 400;

// What launchers and shells set anew for each process. Everything else must be as the warm process has it: libraries
// may have read it while they were loaded.
bool IsSetByLaunchers(std::string_view name) {
  for (const std::string_view known : {"SHLVL", "_", "PWD", "OLDPWD", "GFORTRAN_UNBUFFERED_PRECONNECTED"}) {
    if (name == known) return true;
  }
  for (const std::string_view prefix :
       {"PMI_", "PMIX_", "HYDI_", "HYDRA_", "MPI_", "MPIR_", "MPIEXEC_", "OMPI_", "PRTE_", "SLURM_"}) {
    if (name.starts_with(prefix)) return true;
  }
  return name == kPoolTokenName || name == kWarmSocketName;
}

std::set<std::string> LibraryEnvironment(const std::vector<std::string>& entries) {
  std::set<std::string> relevant;
  for (const std::string& entry : entries) {
    if (!IsSetByLaunchers(std::string_view(entry).substr(0, entry.find('=')))) relevant.insert(entry);
  }
  return relevant;
}

std::vector<std::string> OwnEnvironment() {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) entries.emplace_back(*entry);
  return entries;
}

int ThreadCount() {
  int count = 0;
  for ([[maybe_unused]] const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

void SayEvent(const WarmTask& task, const Json& event) {
  const Descriptor file(::open(task.event_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  const std::string line = event.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (::write(file.number(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    throw InputError(task.event_file.string() + ": cannot be written: " + std::strerror(errno));
  }
}

// Forgets everything that was inherited but standard input, output and error: those numbers are free for the ranks
// then.
void CloseInheritedDescriptors() { ::syscall(SYS_close_range, 3, ~0u, 0); }

Descriptor MovedUp(const Descriptor& low) {
  Descriptor moved(::fcntl(low.number(), F_DUPFD_CLOEXEC, kLowestOwnDescriptor));
  if (moved.number() < 0) throw std::runtime_error(std::string("fcntl: ") + std::strerror(errno));
  return moved;
}

struct ForkedRank {
  pid_t pid = -1;
  Descriptor process;     // pidfd
  Descriptor connection;  // to the process that asked; -1 when that one has gone
};

// True when the other side has ended.
bool IsClosed(int connection) {
  pollfd watched{connection, POLLRDHUP, 0};
  return ::poll(&watched, 1, 0) == 1 && (watched.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void TakeSignals(uint64_t ignored, uint64_t blocked) {
  sigset_t mask;
  ::sigemptyset(&mask);
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    const uint64_t bit = uint64_t{1} << (signal - 1);
    if ((ignored & bit) != 0) ::signal(signal, SIG_IGN);
    if ((blocked & bit) != 0) ::sigaddset(&mask, signal);
  }
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
}

void TakeEnvironment(const std::vector<std::string>& entries) {
  ::clearenv();
  for (const std::string& entry : entries) ::putenv(::strdup(entry.c_str()));  // belongs to the environment from now on
}

std::string TokenOf(const WarmRequest& request) {
  const std::string begin = std::string(kPoolTokenName) + "=";
  for (const std::string& entry : request.environment) {
    if (entry.starts_with(begin)) return entry.substr(begin.size());
  }
  return "";
}

class WarmServer {
 public:
  explicit WarmServer(const WarmTask& task)
      : socket_(MovedUp(Listen(task.socket))),
        program_(std::filesystem::read_symlink("/proc/self/exe").string()),
        environment_(LibraryEnvironment(OwnEnvironment())),
        token_(std::getenv(kPoolTokenName)) {}

  std::vector<std::string> Serve() {
    while (true) {
      AwaitNews();
      EndRanks();
      if (const std::optional<std::vector<std::string>> words = AcceptOne()) return *words;
    }
  }

 private:
  void AwaitNews() const {
    std::vector<pollfd> watched = {{socket_.number(), POLLIN, 0}};
    for (const ForkedRank& rank : ranks_) {
      watched.push_back({rank.process.number(), POLLIN, 0});
      watched.push_back({rank.connection.number(), POLLRDHUP, 0});
    }
    ::poll(watched.data(), watched.size(), -1);
  }

  void EndRanks() {
    for (auto rank = ranks_.begin(); rank != ranks_.end();) {
      if (rank->connection.number() >= 0 && IsClosed(rank->connection.number())) {
        ::kill(rank->pid, SIGKILL);
        rank->connection = Descriptor();
      }
      int status = 0;
      if (::waitpid(rank->pid, &status, WNOHANG) != rank->pid) {
        ++rank;
        continue;
      }
      Answer(rank->connection.number(), "ended " + std::to_string(status));
      rank = ranks_.erase(rank);
    }
  }

  // To a process that may have gone.
  static void Answer(int connection, const std::string& text) {
    try {
      if (connection >= 0) SendText(connection, text);
    } catch (const std::runtime_error&) {
      return;
    }
  }

  // The command line when this is the forked rank.
  std::optional<std::vector<std::string>> AcceptOne() {
    pollfd watched{socket_.number(), POLLIN, 0};
    if (::poll(&watched, 1, 0) != 1) return std::nullopt;
    Descriptor connection(::accept4(socket_.number(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection.number() < 0 || !PeerIsThisUser(connection.number())) return std::nullopt;
    SetPatience(connection.number(), kPatience);
    try {
      connection = MovedUp(connection);
      auto [request, descriptors] = ReceiveRequest(connection.number(), kLowestOwnDescriptor);
      if (const std::string reason = ReasonToRefuse(request); !reason.empty()) {
        Answer(connection.number(), "refused " + reason);
        return std::nullopt;
      }
      return ForkFor(request, descriptors, std::move(connection));
    } catch (const std::runtime_error& error) {
      Answer(connection.number(), std::string("refused ") + error.what());
      return std::nullopt;
    }
  }

  std::string ReasonToRefuse(const WarmRequest& request) const {
    if (request.words.front() != program_) return "the warm process is " + program_;
    const std::vector<std::string> place = DescribePlace();
    for (size_t i = 0; i < std::max(place.size(), request.place.size()); ++i) {
      const std::string here = i < place.size() ? place[i] : "nothing";
      const std::string there = i < request.place.size() ? request.place[i] : "nothing";
      if (here != there) return "the warm process has '" + OneLine(here) + "', this one '" + OneLine(there) + "'";
    }
    if (const std::string name = FirstDifference(LibraryEnvironment(request.environment)); !name.empty()) {
      return "the warm process was started with another value of " + name;
    }
    if (token_ == nullptr || TokenOf(request).size() != std::strlen(token_)) {
      return std::string(kPoolTokenName) + " has another length";
    }
    for (int number : request.descriptors) {
      const bool is_taken = number > STDERR_FILENO && ::fcntl(number, F_GETFD) >= 0;
      if (is_taken || number >= kLowestOwnDescriptor) return "descriptor " + std::to_string(number) + " is in use";
    }
    return "";
  }

  // The name of a variable that only one of them has, or with another value.
  std::string FirstDifference(const std::set<std::string>& other) const {
    std::vector<std::string> different;
    std::set_symmetric_difference(environment_.begin(), environment_.end(), other.begin(), other.end(),
                                  std::back_inserter(different));
    return different.empty() ? "" : different.front().substr(0, different.front().find('='));
  }

  std::optional<std::vector<std::string>> ForkFor(const WarmRequest& request, std::vector<Descriptor>& descriptors,
                                                  Descriptor connection) {
    std::fflush(nullptr);
    const pid_t server = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
    if (pid == 0) {
      BecomeRank(request, descriptors, std::move(connection), server);
      return request.words;
    }
    Descriptor process = MovedUp(Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
    Answer(connection.number(), "started " + std::to_string(pid));
    ranks_.push_back({pid, std::move(process), std::move(connection)});
    return std::nullopt;
  }

  // In the forked process. The token is shown before the connection is looked at: whoever kills all processes with this
  // token, the asking one among them, either sees this process or makes it end here.
  void BecomeRank(const WarmRequest& request, std::vector<Descriptor>& descriptors, Descriptor connection,
                  pid_t server) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::memcpy(token_, TokenOf(request).data(), std::strlen(token_));
    if (::getppid() != server || IsClosed(connection.number())) ::_exit(1);
    ::setsid();
    ::prctl(PR_SET_NAME, "shardcts-rank");
    for (size_t i = 0; i < descriptors.size(); ++i) ::dup2(descriptors[i].number(), request.descriptors[i]);
    ranks_.clear();
    socket_ = Descriptor();
    descriptors.clear();
    TakeSignals(request.ignored_signals, request.blocked_signals);
    TakeEnvironment(request.environment);
  }

  Descriptor socket_;
  const std::string program_;
  const std::set<std::string> environment_;  // that this process was started with
  char* const token_;                        // in the memory that /proc/self/environ shows
  std::list<ForkedRank> ranks_;
};

}  // namespace

WarmTask ReadWarmTask(const std::filesystem::path& file) {
  const Json json = ReadJsonFile(file);
  try {
    return {json.at("socket").get<std::string>(), json.at("implementation").at("source").get<std::string>(),
            json.at("implementation").at("options").get<std::map<std::string, std::string>>(),
            json.at("event_file").get<std::string>()};
  } catch (const Json::exception& error) {
    throw InputError(file.string() + ": " + error.what());
  }
}

std::vector<std::string> ForkRanks(const WarmTask& task, const Preload& preload) {
  ::prctl(PR_SET_NAME, "shardcts-warm");
  CloseInheritedDescriptors();
  WarmServer server(task);
  const auto begin = std::chrono::steady_clock::now();
  try {
    preload(task);
    if (const int threads = ThreadCount(); threads != 1) {
      throw std::runtime_error("preloading left " + std::to_string(threads) + " threads, and only one can be forked");
    }
  } catch (const std::exception& error) {
    SayEvent(task, {{"event", "warm_failed"}, {"message", OneLine(error.what())}});
    std::_Exit(3);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  SayEvent(task, {{"event", "warm_ready"}, {"seconds", seconds}});
  return server.Serve();
}

}  // namespace shardcts
