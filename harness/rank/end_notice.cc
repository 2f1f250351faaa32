#include "rank/end_notice.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>

namespace shardcts {
namespace {

constexpr int kProcess = 3;
constexpr int kEvents = 4;

// Nothing of this takes a lock: the process that forks may have threads.
[[noreturn]] void AwaitEnd(int process, int events, int rank) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_IGN);
  ::setsid();
  const int kept_process = ::fcntl(process, F_DUPFD, kEvents + 1);
  const int kept_events = ::fcntl(events, F_DUPFD, kEvents + 1);
  ::dup2(kept_process, kProcess);
  ::dup2(kept_events, kEvents);
  ::syscall(SYS_close_range, kEvents + 1, ~0U, 0);
  const int nothing = ::open("/dev/null", O_RDWR);
  for (const int stream : {0, 1, 2}) ::dup2(nothing, stream);
  ::close(nothing);

  pollfd ended{kProcess, POLLIN, 0};
  while (::poll(&ended, 1, -1) < 0 && errno == EINTR) continue;

  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  char line[120];
  char* end = line;
  const auto text = [&](const char* words) { end = ::stpcpy(end, words); };
  const auto number = [&](long value) { end = std::to_chars(end, line + sizeof line, value).ptr; };
  text("{\"event\": \"rank_ended\", \"rank\": "), number(rank);
  text(", \"time\": "), number(now.tv_sec), text("."), number(now.tv_nsec / 100'000'000), text("}\n");
  [[maybe_unused]] const ssize_t written = ::write(kEvents, line, static_cast<size_t>(end - line));
  ::_exit(0);
}

}  // namespace

void LeaveEndNotice(const std::string& event_file, int rank) {
  const int process = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  const int events = ::open(event_file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  const pid_t pid = process < 0 || events < 0 ? -1 : ::fork();
  const int error = errno;
  if (pid == 0) AwaitEnd(process, events, rank);
  if (process >= 0) ::close(process);
  if (events >= 0) ::close(events);
  if (pid < 0) throw std::runtime_error(event_file + ": no end notice: " + std::strerror(error));
}

}  // namespace shardcts
