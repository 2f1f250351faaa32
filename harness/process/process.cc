#include "process/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <utility>

#include "run_files/file_text.h"
#include "run_files/input_error.h"

extern char** environ;

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::vector<std::string> MergedEnvironment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) entries.push_back(text);
  }
  for (const auto& [name, value] : added) entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Runs in the child between fork and exec: only async-signal-safe calls. Reports errno through `report` on failure.
[[noreturn]] void ExecuteChild(char* const* arguments, char* const* environment, int output, int report, pid_t parent,
                               const ProcessCommand& command) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, command.signal_at_controllers_end);
  if (::getppid() != parent) ::_exit(127);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int input = ::open("/dev/null", O_RDONLY);
  ::dup2(input, 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  if (command.descriptor >= 0) {  // its number may be the report's; both are out of the way first
    report = ::fcntl(report, F_DUPFD_CLOEXEC, kGivenDescriptor + 1);
    ::dup2(::fcntl(command.descriptor, F_DUPFD_CLOEXEC, kGivenDescriptor + 1), kGivenDescriptor);
  }
  ::execvpe(arguments[0], arguments, environment);
  const int error = errno;
  [[maybe_unused]] const ssize_t written = ::write(report, &error, sizeof(error));
  ::_exit(127);
}

}  // namespace

pid_t StartedChildren::Fork() {
  const std::lock_guard lock(mutex_);
  const pid_t pid = ::fork();
  if (pid > 0) all_.insert(pid);
  return pid;
}

std::optional<int> StartedChildren::Reap(pid_t pid, int flags) {
  const std::lock_guard lock(mutex_);  // its number may be another's right after
  int status = 0;
  if (::waitpid(pid, &status, flags) != pid) return std::nullopt;
  all_.erase(pid);
  return status;
}

ChildProcess::ChildProcess(const ProcessCommand& command) {
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = MergedEnvironment(command.environment);
  const std::vector<char*> argument_pointers = Pointers(arguments);
  const std::vector<char*> environment_pointers = Pointers(environment);
  const int output = ::open(command.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
  if (output < 0) throw InputError(command.output.string() + ": cannot be written: " + std::strerror(errno));
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) throw InputError(std::string("pipe: ") + std::strerror(errno));
  const pid_t parent = ::getpid();
  pid_ = StartedChildren::Fork();
  if (pid_ == 0) ExecuteChild(argument_pointers.data(), environment_pointers.data(), output, report[1], parent, command);
  const int fork_error = errno;
  ::close(output);
  ::close(report[1]);
  int error = 0;
  const ssize_t got = pid_ < 0 ? 0 : ::read(report[0], &error, sizeof(error));
  ::close(report[0]);
  if (pid_ < 0) throw InputError(arguments[0] + ": cannot be started: " + std::strerror(fork_error));
  if (got == sizeof(error)) {
    StartedChildren::Reap(pid_, 0);
    throw InputError(arguments[0] + ": cannot be started: " + std::strerror(error));
  }
}

ChildProcess::~ChildProcess() {
  if (Poll()) return;
  SignalGroup(SIGKILL);
  Wait(milliseconds(2000));
}

std::optional<int> ChildProcess::Poll() {
  if (!status_) status_ = StartedChildren::Reap(pid_, WNOHANG);
  return status_;
}

std::optional<int> ChildProcess::Wait(milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (!Poll() && Clock::now() < deadline) std::this_thread::sleep_for(milliseconds(2));
  return status_;
}

void ChildProcess::SignalGroup(int signal) const {
  if (!status_) ::kill(-pid_, signal);
}

WatchedProcess::WatchedProcess(pid_t pid) : pid_(pid) {
  descriptor_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

WatchedProcess::~WatchedProcess() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

WatchedProcess::WatchedProcess(WatchedProcess&& other) noexcept
    : pid_(other.pid_), descriptor_(std::exchange(other.descriptor_, -1)) {}

WatchedProcess& WatchedProcess::operator=(WatchedProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

bool WatchedProcess::HasEnded() const {
  if (descriptor_ < 0) return ::kill(pid_, 0) != 0 && errno == ESRCH;
  pollfd watched{descriptor_, POLLIN, 0};
  return ::poll(&watched, 1, 0) == 1;
}

void WatchedProcess::Signal(int signal) const {
  if (descriptor_ >= 0) ::syscall(SYS_pidfd_send_signal, descriptor_, signal, nullptr, 0);
}

std::string MakePoolToken() {
  std::random_device random;
  char digits[17];
  std::snprintf(digits, sizeof(digits), "%08x%08x", random(), random());
  return std::to_string(::getpid()) + "-" + digits;
}

std::map<std::string, std::string> PoolEnvironment(const std::string& token) {
  std::map<std::string, std::string> environment = {{kPoolTokenName, token}};
  if (std::getenv("OMP_NUM_THREADS") == nullptr) environment["OMP_NUM_THREADS"] = "1";
  return environment;
}

std::string DescribeStatus(int status) {
  if (!WIFSIGNALED(status)) return "exit code " + std::to_string(WEXITSTATUS(status));
  return std::string(::strsignal(WTERMSIG(status))) + " (signal " + std::to_string(WTERMSIG(status)) + ")";
}

std::string HostName() {
  char name[256] = "";
  ::gethostname(name, sizeof(name) - 1);
  return name;
}

std::vector<pid_t> AllProcesses() {
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& folder : std::filesystem::directory_iterator("/proc", error)) {
    const std::string number = folder.path().filename().string();
    pid_t pid = 0;
    const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), pid);
    if (failure == std::errc() && end == number.data() + number.size()) found.push_back(pid);
  }
  return found;
}

std::vector<pid_t> ProcessesWithEnvironment(const std::string& name, const std::string& value) {
  std::string entry(1, '\0');
  entry += name + "=" + value + '\0';
  std::vector<pid_t> found = AllProcesses();
  std::erase_if(found, [&](pid_t pid) {
    const std::string environment = '\0' + FileText("/proc/" + std::to_string(pid) + "/environ");
    return pid == ::getpid() || environment.find(entry) == environment.npos;
  });
  return found;
}

std::optional<std::string> CaptureOutput(const std::vector<std::string>& arguments, milliseconds limit) {
  char name[] = "/tmp/shardcts-output-XXXXXX";
  const int descriptor = ::mkstemp(name);
  if (descriptor < 0) return std::nullopt;
  ::close(descriptor);
  std::optional<std::string> output;
  try {
    ChildProcess child({arguments, {}, name});
    const std::optional<int> status = child.Wait(limit);
    if (status && WIFEXITED(*status) && WEXITSTATUS(*status) == 0) output = FileText(name);
  } catch (const InputError&) {
    output.reset();
  }
  ::unlink(name);
  return output;
}

}  // namespace shardcts
