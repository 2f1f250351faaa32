// DelayedCommunicator: a communicator whose calls are late when a TransportDelay says so.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/transport_delay.h"

namespace shardcts {

// *Local*. Calls go to `inner`, which must live as long, and so do those of groups split from the result. A call that is
// late fills what it is to write with poison (transport_delay.h), waits, and only then begins; where input and output
// share memory nothing is poisoned. As long as `delay` is not set, calls do what those of `inner` do.
std::unique_ptr<Communicator> MakeDelayedCommunicator(Communicator& inner, std::shared_ptr<TransportDelay> delay);

}  // namespace shardcts
