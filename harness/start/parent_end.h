// For ranks that a launcher has started. *Local*; Linux.
#pragma once

#include <string>

namespace shardcts {

// From now on this process ends when the process that has started it ends, and the event `rank_orphaned` in the event
// file of this rank (docs/formats.md) names this reason.
void EndWithParent(const std::string& event_file, int rank);

}  // namespace shardcts
