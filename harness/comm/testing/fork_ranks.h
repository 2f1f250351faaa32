// ForkRanks: the ranks of a test are forks of its process, which meet through memory that it made before.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <vector>

#include "comm/rendezvous.h"

namespace shardcts {

struct ForkedRank {
  pid_t process = 0;
  int status = 0;  // of waitpid
};

// *Local*, in a process that has no HostMemory. Calls `rank_main` in a fork for each rank; what it returns is the rank's
// exit code. Returns when all ranks have ended. When one ends with anything but 0, the others have `grace` to end
// as well; then they are killed. They are killed too when this process ends.
std::vector<ForkedRank> ForkRanks(int ranks, std::chrono::seconds grace,
                                  const std::function<int(Rendezvous& rendezvous)>& rank_main);

}  // namespace shardcts
