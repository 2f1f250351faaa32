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
};

Report of_process;
thread_local Report of_this_thread;

// Only calls that a signal handler may make.
void OnCrash(int signal) {
  Report& report = of_this_thread.file >= 0 ? of_this_thread : of_process;
  if (char* digits = std::strstr(report.line, "@@}")) {
    digits[0] = signal < 10 ? ' ' : static_cast<char>('0' + signal / 10);
    digits[1] = static_cast<char>('0' + signal % 10);
  }
  [[maybe_unused]] const ssize_t written = write(report.file, report.line, std::strlen(report.line));
  raise(signal);
}

void Fill(Report& report, const std::string& event_file, int rank) {
  report.file = open(event_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::snprintf(report.line, sizeof report.line,
                "{\"event\": \"rank_crashed\", \"rank\": %d, \"time\": %.3f, \"signal\": @@}\n", rank, now);
  struct sigaction action = {};
  action.sa_handler = OnCrash;
  action.sa_flags = SA_RESETHAND | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(signal, &action, nullptr);
}

}  // namespace

void ReportCrashesOfProcess(const std::string& event_file, int rank) { Fill(of_process, event_file, rank); }

void ReportCrashesOfThisThread(const std::string& event_file, int rank) { Fill(of_this_thread, event_file, rank); }

}  // namespace shardcts
