#include "rank/stack_signal.h"

#include <execinfo.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace shardcts {
namespace {

constexpr int kMaxFrames = 40;

void WriteText(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

// Only calls that a signal handler may make: backtrace() allocates in its first call alone, which is not here.
void WriteStack(int) {
  const int error = errno;
  void* frames[kMaxFrames];
  const int count = ::backtrace(frames, kMaxFrames);
  WriteText("native stack, innermost first:\n");
  ::backtrace_symbols_fd(frames, count, STDERR_FILENO);
  WriteText("end of the native stack\n");
  errno = error;
}

}  // namespace

int AnswerStackSignal() {
  void* frame = nullptr;
  ::backtrace(&frame, 1);
  struct sigaction action = {};
  action.sa_handler = WriteStack;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR2, &action, nullptr);
  ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  return SIGUSR2;
}

}  // namespace shardcts
