// Replicas of a distributed tensor.
#pragma once

#include <string_view>

#include "rank/trial.h"

namespace shardcts::extended {

// Evaluates the rule for each DTensor: this rank's part equals, bit for bit, that of every rank whose coordinates differ
// only in mesh dimensions that replicate. *Collective*.
void ReplicasAreEqual(Trial& t, std::string_view what, const Dict& tensors);

}  // namespace shardcts::extended
