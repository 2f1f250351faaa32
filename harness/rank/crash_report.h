// CrashReport: which signal ended a rank. What the launcher gets to see of it is not always the truth. *Local*; Linux.
#pragma once

#include <string>

namespace shardcts {

// From now on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT write the event `rank_crashed` of this rank to its event file
// (docs/formats.md) and then take their course, whichever thread of this process gets them.
void ReportCrashes(const std::string& event_file, int rank);

}  // namespace shardcts
