// The main function of tests that run on several ranks: link shardcts::rank_test_main instead of GTest's main.
#pragma once

#include "comm/communicator.h"

namespace shardcts {

// *Local*. All ranks of the test program, with a deadline of 30 seconds per test: a rank whose test ended early makes
// its peers fail, not hang. The program fails when any rank does.
Communicator& World();

}  // namespace shardcts
