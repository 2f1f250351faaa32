// The cause when ranks end before their tests: whose fault, which verdict, which reason. *Local*.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/verdict.h"

namespace shardcts {

// What is known about one rank when the controller has detected the end of some.
struct RankEnd {
  bool ended = false;                  // its process, or its connection without a farewell
  bool alive = false;                  // its process is on this host and running
  bool done = false;                   // it had finished all tests
  bool orphaned = false;               // it ended because the process that had started it did
  std::optional<int> crashed_signal;   // that it has recorded itself
  std::optional<int> status;           // waitpid's form, if its parent reported it
  bool left = false;                   // it has said farewell to the controller
  std::optional<std::string> lost;     // how its connection ended
  std::string failure;                 // of ShardCTS itself, for which it could not go on
};

// The rank whose end is the cause. `incident.rank` -1: no single rank.
// `lost_in_order`: as ControlHub::Lost() gives it.
Incident ExplainLoss(const std::vector<RankEnd>& ranks, const std::vector<std::vector<int>>& lost_in_order,
                     const std::optional<std::string>& support_ended);

}  // namespace shardcts
