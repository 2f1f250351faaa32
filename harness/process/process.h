// Child processes of the controller: started in their own session, watched through pidfds, and certain to be gone
// when they have been killed. *Local*; POSIX and Linux's /proc.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace shardcts {

struct ProcessCommand {
  std::vector<std::string> arguments;               // [0] is looked up in PATH
  std::map<std::string, std::string> environment;   // added to the controller's own
  std::filesystem::path output;                     // standard output and error; input is empty
  int descriptor = -1;                              // the program has it as number kGivenDescriptor; -1: none
  int signal_at_controllers_end = SIGTERM;          // what it gets when the thread that started it dies
};

inline constexpr int kGivenDescriptor = 3;

// A started program that leads a session of its own.
class ChildProcess {
 public:
  // Throws InputError when the program cannot be started (not found, not executable).
  explicit ChildProcess(const ProcessCommand& command);
  ~ChildProcess();  // kills its process group when it is still there
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // The wait status once it has ended (waitpid's form), without waiting.
  std::optional<int> Poll();
  std::optional<int> Wait(std::chrono::milliseconds limit);
  void SignalGroup(int signal) const;

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
};

// The children of this process that it has started as a ChildProcess and not waited for. Any thread.
class StartedChildren {
 public:
  static pid_t Fork();  // fork(), whose child is one of them
  static std::optional<int> Reap(pid_t pid, int flags);  // waitpid; it is none of them once that has its status
  // Calls `use` with all of them; none is started or reaped in the meantime.
  template <class Use>
  static auto WithAll(Use use) {
    const std::lock_guard lock(mutex_);
    return use(std::as_const(all_));
  }

 private:
  inline static std::mutex mutex_;
  inline static std::set<pid_t> all_;
};

// A process of this host that need not be a child, pinned against reuse of its number.
class WatchedProcess {
 public:
  explicit WatchedProcess(pid_t pid);
  ~WatchedProcess();
  WatchedProcess(WatchedProcess&& other) noexcept;
  WatchedProcess& operator=(WatchedProcess&& other) noexcept;

  pid_t pid() const { return pid_; }
  int descriptor() const { return descriptor_; }  // readable once the process has ended; -1 when it had ended before
  bool HasEnded() const;
  void Signal(int signal) const;

 private:
  pid_t pid_ = -1;
  int descriptor_ = -1;
};

// The variable by which all processes of a pool, or of a warm process, are known and found again.
inline constexpr const char* kPoolTokenName = "SHARDCTS_POOL_TOKEN";

// A new value for it: this process's id and a random number. All of one program have the same length.
std::string MakePoolToken();

// What such processes get in their environment: the token, and one thread for each rank unless the user says otherwise.
std::map<std::string, std::string> PoolEnvironment(const std::string& token);

// waitpid's form: "exit code 3", "Segmentation fault (signal 11)"
std::string DescribeStatus(int status);
std::string HostName();

std::vector<pid_t> AllProcesses();  // of this host

// All processes of this host whose environment holds NAME=VALUE, this one excepted.
std::vector<pid_t> ProcessesWithEnvironment(const std::string& name, const std::string& value);

// Standard output of a short program; nullopt when it cannot be started, fails or takes longer than `limit`.
std::optional<std::string> CaptureOutput(const std::vector<std::string>& arguments, std::chrono::milliseconds limit);

}  // namespace shardcts
