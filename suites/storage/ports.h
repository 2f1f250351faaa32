// The bodies of the rules of this suite.
#pragma once

#include <vector>

#include "rank/port.h"

namespace shardcts::storage {

// Those that RULE (rule.h) has registered.
std::vector<Port> Ports();

}  // namespace shardcts::storage
