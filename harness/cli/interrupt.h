// SIGINT and similar signals as a flag that long work checks. *Local*.
#pragma once

#include <atomic>

namespace shardcts {

// Becomes true with SIGINT, SIGTERM or SIGHUP; the first call installs the handlers.
const std::atomic<bool>& InterruptFlag();

}  // namespace shardcts
