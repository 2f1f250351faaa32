// The main function of tests that run on several ranks: link shardcts::rank_test_main instead of GTest's main. A program
// that needs other settings has a main of its own that calls RunRankTests.
#pragma once

#include <chrono>
#include <optional>

#include "comm/communicator.h"

namespace shardcts {

// *Local*. All ranks of the test program, with a deadline for each test: a rank whose test ended early makes its peers
// fail, not hang. The program fails when any rank does.
Communicator& World();

struct RankTestSettings {
  std::chrono::seconds limit_per_test{30};
  std::optional<int> threads;  // of LibTorch in each rank; nullopt: its own choice
};

// *Collective* over all processes. Runs all tests of the program, with World(); returns main's exit code.
int RunRankTests(int argc, char** argv, const RankTestSettings& settings = {});

}  // namespace shardcts
