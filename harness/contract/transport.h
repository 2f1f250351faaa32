// How an implementation's ranks reach each other, as far as a test decides it.
#pragma once

#include <cstdint>

#include "contract/facade.h"

namespace shardcts {

// *Local*. implementation.delay: until the test ends, what this rank does with its peers is late as the seed decides.
void DelayTransport(Caller& caller, int64_t seed);

}  // namespace shardcts
