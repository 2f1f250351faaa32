// Stack traces of hung ranks. *Local*.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace shardcts {

struct StuckRank {
  int rank = 0;
  pid_t pid = 0;
  int stack_signal = 0;       // makes the process write its stacks to its log; 0: there is none
  std::filesystem::path log;  // the stacks go to its end
};

// Appends the stacks of all ranks to their logs: all threads as gdb shows them, if it is installed, except frames
// in large libraries; then what the ranks themselves write, the main thread's native stack and Python's stacks.
// Returns one line: what each rank is doing, by its innermost frames. Takes no longer than `limit`; it says
// which ranks are missing by then.
std::string TakeStacks(const std::vector<StuckRank>& ranks, std::chrono::milliseconds limit);

// The innermost frames in a log's part, "f (adapter.py:55) < g (x.py:3)" of Python where there is one, else native
// functions without the system's own; empty when there are none.
std::string InnermostFrames(const std::string& stacks);

}  // namespace shardcts
