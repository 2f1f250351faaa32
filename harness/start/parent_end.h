// For ranks that a launcher has started. *Local*; Linux.
#pragma once

#include <string>

namespace shardcts {

// From now on the end of the process that has started this one ends it as well, and the event `rank_orphaned` of this
// rank in its event file (docs/formats.md) tells that it was for this reason.
void EndWithParent(const std::string& event_file, int rank);

}  // namespace shardcts
