// Ctrl-C and its like as a flag that long work looks at. *Local*.
#pragma once

#include <atomic>

namespace shardcts {

// Becomes true with SIGINT, SIGTERM or SIGHUP; the first call installs the handlers.
const std::atomic<bool>& InterruptFlag();

}  // namespace shardcts
