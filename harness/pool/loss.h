// What it means that ranks have ended before their tests were: whose fault, which verdict, which words. *Local*.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/verdict.h"

namespace shardcts {

// What is known of one rank when the controller has noticed the end of some.
struct RankEnd {
  bool ended = false;                  // its process, or its connection without a farewell
  bool alive = false;                  // its process is here and lives
  bool done = false;                   // it had finished all tests
  bool orphaned = false;               // it ended because the process that had started it did
  std::optional<int> crashed_signal;   // that it has told itself
  std::optional<int> status;           // waitpid's form, where somebody waited for it
  bool left = false;                   // it has said farewell to the controller
  std::optional<std::string> lost;     // how its connection ended
};

// Whose end it was. `incident.rank` -1: of no single rank.
Incident ExplainLoss(const std::vector<RankEnd>& ranks, const std::vector<int>& lost_in_order,
                     const std::optional<std::string>& support_ended);

}  // namespace shardcts
