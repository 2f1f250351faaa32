#include "start/warm_client.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <stdexcept>

#include "start/warm_protocol.h"

namespace shardcts {
namespace {

constexpr std::chrono::milliseconds kPatience{20'000};  // until the warm process has forked the rank
constexpr int kWarmProcessLost = 3;

void Say(const std::string& text) { std::cerr << "shardcts-start-rank: " << text << std::endl; }

// Hands everything over. Throws std::runtime_error when the rank was not forked.
void AskForRank(int socket, const std::vector<std::string>& words) {
  SendRequest(socket, RequestOfThisProcess(words, socket));
  const std::optional<std::string> answer = ReceiveText(socket);
  if (!answer) throw std::runtime_error("the warm process ended");
  if (!answer->starts_with("started ")) throw std::runtime_error(*answer);
}

// The rank alone has what the launcher gave it: its end of the launcher's sockets must close when the rank dies.
void KeepOnly(int socket) {
  const auto number = static_cast<unsigned>(socket);
  if (number > 3) ::syscall(SYS_close_range, 3u, number - 1, 0);
  ::syscall(SYS_close_range, number + 1, ~0u, 0);
}

// As the rank ended, but without a core file of this process.
[[noreturn]] void EndLike(int status) {
  if (!WIFSIGNALED(status)) ::_exit(WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);
  ::signal(signal, SIG_DFL);
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::raise(signal);
  ::_exit(128 + signal);
}

// The rank takes as long as it takes: its deadlines are the controller's, whose end or wish ends this process.
[[noreturn]] void EndWithRank(int socket) {
  ::signal(SIGUSR1, SIG_IGN);  // with it MPICH's launcher tells that a peer has died; this end is the rank's own
  KeepOnly(socket);
  SetPatience(socket, std::chrono::milliseconds(0));
  std::string reason = "the warm process ended, and the rank with it";
  try {
    const std::optional<std::string> answer = ReceiveText(socket);
    if (answer && answer->starts_with("ended ")) EndLike(std::atoi(answer->c_str() + std::strlen("ended ")));
    if (answer) reason = "the warm process said: " + *answer;
  } catch (const std::runtime_error& error) {
    reason += std::string(": ") + error.what();
  }
  Say(reason);
  ::_exit(kWarmProcessLost);
}

void TryWarm(const std::string& socket_name, const std::vector<std::string>& words) {
  try {
    const Descriptor socket = Connect(socket_name, kPatience);
    AskForRank(socket.number(), words);
    EndWithRank(socket.number());
  } catch (const std::runtime_error& error) {
    Say(std::string("the rank starts cold: ") + error.what());
  }
}

}  // namespace

int StartRank(std::vector<std::string> words) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a rank does not outlive its launcher
  std::error_code error;
  const std::filesystem::path program = std::filesystem::canonical(words.front(), error);
  if (!error) words.front() = program.string();
  const char* socket_name = std::getenv(kWarmSocketName);
  if (socket_name != nullptr && *socket_name != '\0') TryWarm(socket_name, words);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(arguments.front(), arguments.data());
  Say(words.front() + ": cannot be started: " + std::strerror(errno));
  return 127;
}

}  // namespace shardcts
