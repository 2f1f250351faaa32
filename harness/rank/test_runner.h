// Runs test cases of the inventory under GoogleTest, one after the other, and says so in the event file.
#pragma once

#include <string>
#include <vector>

#include "rank/event_log.h"
#include "rank/hosted_implementation.h"
#include "rank/session.h"
#include "run_files/plan.h"

namespace shardcts {

struct Suite;
struct TestCase;

// Every inventory entry has one body and every body an entry: throws HarnessError naming the first that has not.
void CheckPortsAgainstInventory(const std::vector<TestCase>& inventory, const std::vector<Suite>& suites);

// *Collective* over the pool. Runs the plan's tests, or scripts, in order. `capabilities`: what the implementation declares.
// `implementation` is the session's; it is renewed after a test that broke its communicator.
// Throws InputError for a test that is not in the inventory.
void RunTests(const Plan& plan, const std::vector<std::string>& capabilities, HostedImplementation& implementation,
              Session& session, ControlPlane& control, EventLog& events);

}  // namespace shardcts
