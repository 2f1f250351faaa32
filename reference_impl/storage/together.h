// Steps that all ranks of a group make together: an error of one is an error of all.
#pragma once

#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "contract/value.h"

namespace shardcts::reference {

// *Collective* over the group. Runs `step` on this rank, whatever it throws, and returns what it has given on every
// rank, in the group's order. When it failed somewhere, every rank throws a SemanticError of kind CheckpointException
// that names each rank that failed, by its global number, and what it met. `step` must not communicate; its value has no
// handles and no ShardedTensors.
std::vector<Value> Together(Communicator& group, const std::function<Value()>& step);

// *Local*. Runs `step`; what it throws becomes a CheckpointException.
void Alone(const std::function<void()>& step);

}  // namespace shardcts::reference
