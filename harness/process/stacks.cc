#include "process/stacks.h"

#include <cxxabi.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <regex>
#include <set>
#include <sstream>

#include "process/process.h"
#include "run_files/file_text.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kFramesShown = 3;
constexpr uintmax_t kLargeLibraryBytes = 16 << 20;
constexpr milliseconds kAnswerLimit{1'000};  // a rank that can answer does so at once
constexpr milliseconds kQuiet{100};          // a log that has not grown for so long is complete

uintmax_t SizeOf(const std::filesystem::path& file) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(file, error);
  return error ? 0 : size;
}

void Append(const std::filesystem::path& log, const std::string& line) {
  const int descriptor = OpenRegularFile(log, O_WRONLY | O_APPEND);
  const std::string text = "shardcts: " + line + "\n";
  [[maybe_unused]] const ssize_t written = ::write(descriptor, text.data(), text.size());
  ::close(descriptor);
}

// The state letter of /proc/PID/stat, behind the name in parentheses; ' ' when the process is gone.
char ProcessState(pid_t pid) {
  const std::string text = FileText("/proc/" + std::to_string(pid) + "/stat");
  const size_t place = text.rfind(") ");
  return place == text.npos || place + 2 >= text.size() ? ' ' : text[place + 2];
}

std::string Demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                    std::free);
  return status == 0 && text ? text.get() : name;
}

// "a::b<int>::c(int) const" -> "a::b::c": what is in angle brackets, and everything from the parameters on, is left
// out.
std::string ShortName(const std::string& name) {
  std::string text;
  int depth = 0;
  for (const char c : std::regex_replace(name, std::regex(R"(\(anonymous namespace\)::)"), "")) {
    if (c == '(' && depth == 0) break;
    depth += c == '<' ? 1 : 0;
    if (depth == 0) text += c;
    depth -= c == '>' && depth > 0 ? 1 : 0;
  }
  return text;
}

// Waiting itself says nothing: the frames around it do.
bool IsSystemFrame(const std::string& name) {
  static const std::regex kSystem(
      R"((__|_|\?\?|clock_nanosleep|nanosleep|usleep|sched_yield|poll$|ppoll|epoll|select|syscall|pause$|raise$|)"
      R"(pthread_|futex|std::|start_thread|clone|0x|MPI|PMPI|uc[pstm]_|shardcts::WriteStack|shardcts::Pause).*)");
  return name.empty() || std::regex_match(name, kSystem);
}

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// How one writer of stacks writes the thread that counts.
struct StackFormat {
  const char* heading;  // of that thread
  std::regex frame;
  const char* name;  // of a frame, from the parts of `frame`
  bool is_native;
};

// In the order of what they are worth.
const StackFormat kFormats[] = {
    // faulthandler: `  File "/a/b.py", line 12 in f`; the current thread is the one that got the signal.
    {"Current thread ", std::regex(R"re(  File "(?:.*/)?([^/"]+)", line (\d+) in (.+))re"), "$3 ($1:$2)", false},
    // gdb: `#3  0x00007f in a::b (this=…) from lib.so` or `#0  f (x=1) at y.c:3`
    {"Thread 1 ", std::regex(R"(#\d+ +(?:0x[0-9a-f]+ in )?(.+?) \(.*)"), "$1", true},
    // backtrace_symbols_fd: `lib.so(_ZN1a1bEv+0x12)[0x7f]`
    {"native stack", std::regex(R"([^()]*\(([^()+]*)\+0x[0-9a-f]+\)\[0x[0-9a-f]+\])"), "$1", true},
};

std::vector<std::string> FramesIn(const std::vector<std::string>& lines, const StackFormat& format) {
  std::vector<std::string> frames;
  bool counts = false;
  for (const std::string& line : lines) {
    std::smatch match;
    if (line.starts_with(format.heading)) {
      counts = true;
    } else if (std::ranges::any_of(std::array{"Thread ", "Current thread ", "native stack"},
                                   [&](const char* heading) { return line.starts_with(heading); })) {
      counts = false;
    } else if (counts && std::regex_match(line, match, format.frame)) {
      const std::string name = match.format(format.name);
      frames.push_back(format.is_native ? ShortName(Demangled(name)) : name);
    }
  }
  return frames;
}

// The small shared libraries of a process. It takes gdb ten seconds and more to read those of LibTorch; the frames in
// them are told by the rank itself.
std::set<std::string> LibrariesWorthReading(pid_t pid) {
  std::set<std::string> names;
  for (const std::string& line : Lines(FileText("/proc/" + std::to_string(pid) + "/maps"))) {
    const size_t place = line.find('/');
    if (place == line.npos || line.find(".so", place) == line.npos) continue;
    const std::filesystem::path file = line.substr(place);
    if (const uintmax_t size = SizeOf(file); size > 0 && size < kLargeLibraryBytes) names.insert(file.filename());
  }
  return names;
}

std::vector<std::string> DebuggerWords(pid_t pid) {
  std::vector<std::string> words = {"gdb", "-nx", "-batch"};
  for (const char* setting : {"debuginfod enabled off", "auto-load off", "auto-solib-add off", "confirm off",
                              "print thread-events off", "print frame-arguments none"}) {
    words.insert(words.end(), {"-iex", std::string("set ") + setting});
  }
  words.insert(words.end(), {"-p", std::to_string(pid)});
  for (const std::string& name : LibrariesWorthReading(pid)) {  // one by one: gdb's own syntax has no plain |
    const std::string expression = std::regex_replace(name, std::regex(R"([.+*?\[\]])"), "[$&]");
    words.insert(words.end(), {"-ex", "sharedlibrary /" + expression});
  }
  words.insert(words.end(), {"-ex", "thread apply all bt 40"});
  return words;
}

class StackTaker {
 public:
  StackTaker(const std::vector<StuckRank>& ranks, milliseconds limit) : ranks_(ranks), deadline_(Clock::now() + limit) {
    for (const StuckRank& rank : ranks_) begins_.push_back(SizeOf(rank.log));
  }

  std::string Take() {
    const bool stopped_early = RunDebuggers();
    AwaitAnswers();
    std::string text;
    for (size_t i = 0; i < ranks_.size(); ++i) {
      const std::string frames = InnermostFrames(FileText(ranks_[i].log, begins_[i]));
      const bool stopped = ProcessState(ranks_[i].pid) == 'T';
      text += (text.empty() ? "rank " : ", rank ") + std::to_string(ranks_[i].rank);
      text += stopped ? " is stopped by a signal" : "";
      text += frames.empty() ? (stopped ? "" : " has told nothing") : " in " + frames;
    }
    return text + (stopped_early ? "; gdb was too slow" : "");
  }

 private:
  // True when one was not done in time.
  bool RunDebuggers() {
    std::vector<std::unique_ptr<ChildProcess>> debuggers;
    try {
      for (const StuckRank& rank : ranks_) {
        Append(rank.log, "rank " + std::to_string(rank.rank) + " does not come back; its stacks:");
        debuggers.push_back(std::make_unique<ChildProcess>(ProcessCommand{DebuggerWords(rank.pid), {}, rank.log}));
      }
    } catch (const InputError&) {
      for (const StuckRank& rank : ranks_) Append(rank.log, "gdb is not installed; what the rank itself says:");
      return false;
    }
    bool late = false;
    for (size_t i = 0; i < debuggers.size(); ++i) {
      const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - kAnswerLimit - Clock::now());
      if (debuggers[i]->Wait(std::max(left, milliseconds(0)))) continue;
      debuggers[i]->SignalGroup(SIGKILL);  // the rank goes on when its debugger dies
      debuggers[i]->Wait(kAnswerLimit);
      Append(ranks_[i].log, "gdb was not done in time");
      late = true;
    }
    return late;
  }

  // Until no log has grown for a while.
  void AwaitAnswers() {
    for (const StuckRank& rank : ranks_) {
      if (rank.stack_signal != 0) WatchedProcess(rank.pid).Signal(rank.stack_signal);
    }
    const auto until = std::min(deadline_, Clock::now() + kAnswerLimit);
    uintmax_t size = 0;
    auto grown = Clock::now();
    while (Clock::now() < until && Clock::now() < grown + kQuiet) {
      uintmax_t now = 0;
      for (const StuckRank& rank : ranks_) now += SizeOf(rank.log);
      if (now != size) size = now, grown = Clock::now();
      ::poll(nullptr, 0, 10);
    }
  }

  const std::vector<StuckRank>& ranks_;
  const Clock::time_point deadline_;
  std::vector<uintmax_t> begins_;  // of the stacks in the logs
};

}  // namespace

std::string InnermostFrames(const std::string& stacks) {
  const std::vector<std::string> lines = Lines(stacks);
  std::vector<std::string> frames;
  for (const StackFormat& format : kFormats) {
    if (frames.empty()) frames = FramesIn(lines, format);
  }
  std::erase_if(frames, IsSystemFrame);
  std::string text;
  for (size_t i = 0; i < std::min(frames.size(), kFramesShown); ++i) text += (i == 0 ? "" : " < ") + frames[i];
  return text;
}

std::string TakeStacks(const std::vector<StuckRank>& ranks, milliseconds limit) {
  return ranks.empty() ? "" : StackTaker(ranks, limit).Take();
}

}  // namespace shardcts
