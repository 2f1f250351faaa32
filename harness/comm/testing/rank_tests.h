// The main function of tests that run on several ranks: link shardcts::rank_test_main instead of GTest's main. A program
// that needs other settings has a main of its own that calls RunRankTests.
//
//   PROGRAM --ranks N [GoogleTest's options]
#pragma once

#include <chrono>
#include <memory>

#include "comm/communicator.h"
#include "comm/rendezvous.h"

namespace shardcts {

// *Local*. All ranks of the test program, with a deadline for each test: a rank whose test ended early makes its peers
// fail, not hang. The program fails when any rank does.
Communicator& World();

struct RankTestSettings {
  std::chrono::seconds limit_per_test{30};
  int threads = 1;  // of LibTorch in each rank, as in a rank of a pool
};

// *Local*. Forks the ranks, whose World() is a local communicator, and runs all tests of the program on them. Returns
// main's exit code: 0 only when every rank gives it.
int RunRankTests(int argc, char** argv, const RankTestSettings& settings = {});

// *Collective*. The same on ranks that exist, GoogleTest being initialized.
int RunTestsOn(std::unique_ptr<Communicator> world, const RankTestSettings& settings = {});

}  // namespace shardcts
