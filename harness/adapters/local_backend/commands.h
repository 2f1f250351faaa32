// What the backend is commanded to do (backend.h). All *Local*, for all groups of this process. `rank` counts where it is
// the first one that is given: that in the first group, the one of all ranks.
#pragma once

#include "comm/transport_delay.h"

namespace shardcts::local_backend {

// By how much collectives of this process are late. It begins as SHARDCTS_LOCAL_LATE says. c10::Error: that is no seed.
TransportDelay& Delay(int rank);

enum class Command { kNone, kFail, kAbort };
// For the next collective of this process. c10::Error: a variable that is not RANK:N.
Command NextCommand(int rank);
}  // namespace shardcts::local_backend
