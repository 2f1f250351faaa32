// The asking side of a warm start: what shardcts-start-rank does. *Local*; Linux.
#pragma once

#include <string>
#include <vector>

namespace shardcts {

// Runs the program `words` as a rank. When the environment names a warm process and that one agrees, it forks the rank,
// and this process waits and ends as the rank ends: with its exit code, or by its signal. Otherwise this process
// becomes the program. Returns only when the program cannot be executed: the exit code, 127.
int StartRank(std::vector<std::string> words);

}  // namespace shardcts
