// A script as the one test of a pool. *Collective* over the pool.
#pragma once

#include "rank/event_log.h"
#include "rank/session.h"
#include "run_files/plan.h"

namespace shardcts {

// Runs the plan's script and says so in the event file, as the test "script". Throws InputError for what is wrong with
// the file.
void RunScriptCase(const Plan& plan, Session& session, ControlPlane& control, EventLog& events);

}  // namespace shardcts
