#include "faults/fault_layer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <set>

#include "faults/real.h"

namespace shardcts::faults {
namespace {

struct Layer {
  std::mutex mutex;
  FaultPlan plan;
  std::string real_root;  // without links
  int log = -1;
  int64_t next = 0;
  bool hit = false;
  bool interrupted = false;  // the last operation was, so the next is not
  std::set<std::string> unseen;
};

std::atomic<bool> armed{false};
std::atomic<pid_t> armed_in{0};
thread_local int inside __attribute__((tls_model("initial-exec"))) = 0;  // hooks of the layer's own calls

Layer& TheLayer() {
  static Layer* const layer = new Layer;  // outlives the hooks
  return *layer;
}

struct Inside {
  Inside() { ++inside; }
  ~Inside() { --inside; }
};

uint64_t Now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(time.tv_nsec);
}

std::string LinkOf(const std::string& link) {
  char text[PATH_MAX];
  const long count = Kernel(SYS_readlink, link.c_str(), text, sizeof text);
  return count > 0 ? std::string(text, static_cast<size_t>(count)) : "";
}

std::string OfDescriptor(int descriptor) {
  std::string path = LinkOf("/proc/self/fd/" + std::to_string(descriptor));
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

// Without "." and "..", by the text alone.
std::string Normal(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (!part.empty() && part != "." && part != "..") parts.push_back(part);
    begin = end + 1;
  }
  std::string normal;
  for (const std::string& part : parts) normal += "/" + part;
  return normal.empty() ? "/" : normal;
}

std::optional<std::string> Relative(const std::string& path) {
  Layer& layer = TheLayer();
  for (const std::string& root : {layer.plan.root, layer.real_root}) {
    if (path == root) return ".";
    if (path.size() > root.size() && path.starts_with(root) && path[root.size()] == '/')
      return path.substr(root.size() + 1);
  }
  return std::nullopt;
}

void Append(const Operation& operation) {
  Layer& layer = TheLayer();
  if (layer.log < 0) return;
  const std::string line = ToLine(operation) + "\n";
  [[maybe_unused]] const long written = Kernel(SYS_write, layer.log, line.data(), line.size());
}

[[noreturn]] void Die(Operation& operation) {
  Layer& layer = TheLayer();
  operation.end_ns = Now();
  Append(operation);
  if (!layer.plan.death_note.empty()) {
    const std::string text = std::to_string(layer.plan.rank) + "\n";
    const long note =
        Kernel(SYS_openat, AT_FDCWD, layer.plan.death_note.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    Kernel(SYS_write, note, text.data(), text.size());
    Kernel(SYS_close, note);
  }
  Kernel(SYS_kill, Kernel(SYS_getpid), SIGKILL);
  while (true) Kernel(SYS_pause);
}

bool NeedsRoom(const Operation& operation) {
  switch (operation.kind) {
    case Kind::kOpen: return (operation.flags & O_CREAT) != 0;
    case Kind::kWrite:
    case Kind::kAllocate:
    case Kind::kCopy:
    case Kind::kMakeFolder: return true;
    default: return false;
  }
}

bool MayBeInterrupted(const Operation& operation) {
  return operation.kind == Kind::kOpen || operation.kind == Kind::kWrite || operation.kind == Kind::kRead;
}

void Wait(const FaultPlan& plan) {
  timespec pause{0, 1'000'000};
  for (int waited = 0; waited < plan.delay_ms; ++waited) {
    const bool there = !plan.wait_for.empty() && Kernel(SYS_faccessat, AT_FDCWD, plan.wait_for.c_str(), F_OK) == 0;
    if (plan.action == Action::kPause && there) return;
    ::nanosleep(&pause, nullptr);
  }
}

// What happens to the operation of this number. With the lock held.
Action ActionFor(const Operation& operation) {
  Layer& layer = TheLayer();
  const FaultPlan& plan = layer.plan;
  if ((operation.kind == Kind::kRead) != plan.of_reads) return Action::kNone;
  if (plan.action == Action::kFailFromHere && layer.hit && NeedsRoom(operation)) return Action::kFail;
  const bool every_other = plan.at == kEvery && plan.action == Action::kInterrupt;
  if (every_other && layer.interrupted) {
    layer.interrupted = false;
    return Action::kNone;
  }
  if (plan.at != kEvery && plan.at != operation.number) return Action::kNone;
  if (plan.action == Action::kInterrupt && !MayBeInterrupted(operation)) return Action::kNone;
  layer.hit = true;
  layer.interrupted = plan.action == Action::kInterrupt;
  return plan.action;
}

int64_t Failing(Operation& operation, int error) {
  operation.result = -1;
  operation.error = error;
  return -1;
}

}  // namespace

bool Active() {
  return armed.load(std::memory_order_acquire) && inside == 0 &&
         armed_in.load(std::memory_order_relaxed) == Kernel(SYS_getpid);
}

std::optional<std::string> BelowRoot(int folder, const char* path) {
  if (path == nullptr) return std::nullopt;
  const Inside guard;
  if (path[0] == '/') return Relative(Normal(path));
  const std::string base = folder == AT_FDCWD ? LinkOf("/proc/self/cwd") : OfDescriptor(folder);
  return base.empty() ? std::nullopt : Relative(Normal(base + "/" + path));
}

std::optional<std::string> BelowRoot(int descriptor) {
  const Inside guard;
  const std::string path = OfDescriptor(descriptor);
  return path.empty() || path[0] != '/' ? std::nullopt : Relative(path);
}

uint64_t FileOf(int descriptor) {
  struct stat status{};
  return Kernel(SYS_fstat, descriptor, &status) == 0 ? status.st_ino : 0;
}

uint64_t FileAt(const std::string& relative) {
  struct stat status{};
  const std::string path = TheLayer().plan.root + "/" + relative;
  return Kernel(SYS_newfstatat, AT_FDCWD, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_ino : 0;
}

int FlagsOf(int descriptor) { return static_cast<int>(Kernel(SYS_fcntl, descriptor, F_GETFL)); }

void NoteUnseen(const std::string& what) {
  const Inside guard;
  const std::lock_guard lock(TheLayer().mutex);
  TheLayer().unseen.insert(what);
}

bool WantsBytes() { return TheLayer().plan.with_bytes; }
bool WantsReads() { return TheLayer().plan.of_reads; }

int64_t Perform(Operation operation, const std::function<int64_t()>& real, const std::function<int64_t()>& half,
                const std::function<void(Operation&)>& after) {
  const Inside guard;
  Layer& layer = TheLayer();
  std::unique_lock lock(layer.mutex);
  if (!armed) return real();
  operation.rank = layer.plan.rank;
  operation.number = (operation.kind == Kind::kRead) == layer.plan.of_reads ? layer.next++ : -1;
  operation.begin_ns = Now();
  const Action action = ActionFor(operation);
  if (action == Action::kKillBefore) {
    Failing(operation, 0);
    Die(operation);
  }
  if (action == Action::kDelay || action == Action::kPause) {
    const FaultPlan plan = layer.plan;
    lock.unlock();
    Wait(plan);
    lock.lock();
  }
  const bool fails = action == Action::kFail || action == Action::kFailFromHere || action == Action::kInterrupt;
  if (fails) {
    Failing(operation, action == Action::kInterrupt ? EINTR : layer.plan.error);
    // A descriptor is gone even if closing it failed.
    if (operation.kind == Kind::kClose) real();
  } else {
    const bool partial = half && (action == Action::kShort || action == Action::kKillHalf);
    operation.result = partial ? half() : real();
    operation.error = operation.result == -1 ? errno : 0;
  }
  if (after && operation.result != -1) after(operation);
  if (operation.kind == Kind::kWrite) operation.bytes.resize(static_cast<size_t>(
      std::clamp<int64_t>(operation.result, 0, static_cast<int64_t>(operation.bytes.size()))));
  if (action == Action::kKillHalf || action == Action::kKillAfter) Die(operation);
  operation.end_ns = Now();
  Append(operation);
  errno = operation.error;
  return operation.result;
}

void Arm(const FaultPlan& plan) {
  Disarm();
  const Inside guard;
  Layer& layer = TheLayer();
  const std::lock_guard lock(layer.mutex);
  layer.plan = plan;
  layer.plan.root = Normal(plan.root);
  char real[PATH_MAX];
  // The folder may not be there yet: the one above it is.
  const size_t cut = layer.plan.root.rfind('/');
  const std::string above = layer.plan.root.substr(0, std::max<size_t>(cut, 1));
  layer.real_root = ::realpath(above.c_str(), real) != nullptr ? Normal(std::string(real) + layer.plan.root.substr(cut))
                                                               : layer.plan.root;
  layer.next = 0;
  layer.hit = layer.interrupted = false;
  layer.unseen.clear();
  if (!plan.log.empty()) {
    layer.log = static_cast<int>(
        Kernel(SYS_openat, AT_FDCWD, plan.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  }
  armed_in = static_cast<pid_t>(Kernel(SYS_getpid));
  armed.store(true, std::memory_order_release);
}

Seen Disarm() {
  const Inside guard;
  Layer& layer = TheLayer();
  const std::lock_guard lock(layer.mutex);
  armed.store(false, std::memory_order_release);
  if (layer.log >= 0) Kernel(SYS_close, layer.log);
  layer.log = -1;
  return {layer.next, layer.hit, {layer.unseen.begin(), layer.unseen.end()}};
}

}  // namespace shardcts::faults
