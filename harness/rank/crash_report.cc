#include "rank/crash_report.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

namespace shardcts {
namespace {

struct Report {
  int file = -1;
  char line[160] = "";
} report;

// Only calls that a signal handler may make.
void OnCrash(int signal) {
  if (char* digits = std::strstr(report.line, "@@}")) {
    digits[0] = signal < 10 ? ' ' : static_cast<char>('0' + signal / 10);
    digits[1] = static_cast<char>('0' + signal % 10);
  }
  [[maybe_unused]] const ssize_t written = write(report.file, report.line, std::strlen(report.line));
  raise(signal);
}

}  // namespace

void ReportCrashes(const std::string& event_file, int rank) {
  report.file = open(event_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::snprintf(report.line, sizeof report.line,
                "{\"event\": \"rank_crashed\", \"rank\": %d, \"time\": %.3f, \"signal\": @@}\n", rank, now);
  struct sigaction action = {};
  action.sa_handler = OnCrash;
  action.sa_flags = SA_RESETHAND | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(signal, &action, nullptr);
}

}  // namespace shardcts
