// The conformance tests of communicators: one body for all backends, linked into the test program of each.
//
// A test program defines the two functions below and links shardcts::communicator_conformance. Failures may be asserted
// on any thread. Every test must pass at world sizes 1, 2, 3, 4 and 8.
#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"

namespace shardcts {

// Calls `body` once on every rank, with that rank's communicator over all ranks, and returns when it has returned on
// all ranks of this process. Communicators may be made anew for each call or kept; the tests do not break them, only
// groups split from them.
void RunOnRanks(const std::function<void(Communicator& world)>& body);

// What backend() has to say.
std::string BackendUnderTest();

// RunOnRanks with a deadline of 30 seconds: a rank whose test ended early makes its peers fail, not hang.
void OnEveryRank(const std::function<void(Communicator& world)>& body);

}  // namespace shardcts
