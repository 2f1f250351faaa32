#include "process/orphans.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <sstream>
#include <string>
#include <thread>

#include "process/process.h"
#include "run_files/file_text.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::atomic<pid_t> g_adopts = 0;  // the process that has become a subreaper; a fork of it is none

struct ProcessStat {
  char state = 'Z';
  pid_t parent = 0;
};

// From /proc/PID/stat, behind the name in parentheses, which may hold anything.
ProcessStat StatOf(pid_t pid) {
  const std::string text = FileText("/proc/" + std::to_string(pid) + "/stat");
  const size_t place = text.rfind(") ");
  ProcessStat stat;
  if (place != text.npos) std::istringstream(text.substr(place + 2)) >> stat.state >> stat.parent;
  return stat;
}

std::vector<pid_t> OwnOrphans() {
  return StartedChildren::WithAll([](const std::set<pid_t>& started) {
    std::vector<pid_t> orphans;
    for (const pid_t pid : AllProcesses()) {
      const ProcessStat stat = StatOf(pid);
      if (stat.parent != ::getpid() || started.contains(pid)) continue;
      if (stat.state != 'Z') orphans.push_back(pid);
      if (stat.state == 'Z') ::waitpid(pid, nullptr, WNOHANG);
    }
    return orphans;
  });
}

}  // namespace

std::vector<pid_t> ChildrenOf(pid_t parent) {
  std::vector<pid_t> children;
  for (const pid_t pid : AllProcesses()) {
    const ProcessStat stat = StatOf(pid);
    if (stat.parent == parent && stat.state != 'Z') children.push_back(pid);
  }
  return children;
}

void AdoptOrphans() {
  if (g_adopts == ::getpid() || !OwnOrphans().empty()) return;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0) g_adopts = ::getpid();
}

std::vector<pid_t> EndAdoptedOrphans(milliseconds grace) {
  return g_adopts == ::getpid() ? EndAll(OwnOrphans, grace) : std::vector<pid_t>();
}

std::vector<pid_t> EndAll(const std::function<std::vector<pid_t>()>& find, milliseconds grace) {
  const auto begin = Clock::now();
  const auto signal_all = [&](int signal) {
    const std::vector<pid_t> left = find();
    for (pid_t pid : left) {
      const WatchedProcess process(pid);
      process.Signal(signal);
    }
    return left;
  };
  std::vector<pid_t> left = signal_all(SIGTERM);
  while (!left.empty() && Clock::now() < begin + grace + milliseconds(5000)) {
    std::this_thread::sleep_for(milliseconds(10));
    left = Clock::now() < begin + grace ? find() : signal_all(SIGKILL);
  }
  return left;
}

}  // namespace shardcts
