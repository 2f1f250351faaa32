// EndNotice: somebody who says that this rank has ended, on hosts that the controller cannot see. *Local*; Linux.
#pragma once

#include <string>

namespace shardcts {

// Forks a process that waits for the end of this one, whatever ends it, appends the event `rank_ended` to the event
// file and ends, too (docs/formats.md). It holds no other file of this process. Throws std::runtime_error when it
// cannot be started.
void LeaveEndNotice(const std::string& event_file, int rank);

}  // namespace shardcts
