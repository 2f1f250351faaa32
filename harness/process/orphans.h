// Processes that a rank has started and left behind, however their environment looks. *Local*; Linux.
//
// Every rank, and every process that starts ranks, is a child subreaper: the kernel gives it the processes below it
// whose parent has ended. So a child of a process that starts ranks, which it has not started itself, was left behind
// by a rank that has ended, never by one that runs.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <vector>

namespace shardcts {

// Live children of a process; those that have ended and were not waited for are none.
std::vector<pid_t> ChildrenOf(pid_t parent);

// This process becomes the parent of what its ranks leave behind. Not done if it has children that are no ChildProcess,
// which a program that became this one has started: theirs could not be told from those of ranks.
void AdoptOrphans();

// Ends the orphans that this process has adopted: all children that are no ChildProcess. Returns those left.
std::vector<pid_t> EndAdoptedOrphans(std::chrono::milliseconds grace);

// Ends all processes that `find` gives: SIGTERM, after `grace` SIGKILL, then up to 5 s until none is left. Returns
// those left.
std::vector<pid_t> EndAll(const std::function<std::vector<pid_t>()>& find, std::chrono::milliseconds grace);

}  // namespace shardcts
