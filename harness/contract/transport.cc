#include "contract/transport.h"

namespace shardcts {

void DelayTransport(Caller& caller, int64_t seed) { Require(caller, "implementation.delay", {{"seed", seed}}); }

}  // namespace shardcts
