// Full tensors for comparisons, assembled from the parts that the ranks hold. The implementation under test is not
// involved, so a layout that it splits and gathers with the same error does not look right.
#pragma once

#include "rank/trial.h"

namespace shardcts {

// The value, also of nested dicts and lists, with full plain tensors instead of DTensors and ShardedTensors.
// *Collective* when it has any; they must have the same paths on every rank. One whose parts do not form a full
// tensor fails the test, outside any check, and is returned unchanged.
Value Whole(Trial& t, const Value& tree);
Dict WholeDict(Trial& t, const Dict& tree);

// A Tensor, DTensor or ShardedTensor.
bool IsTensor(const Value& value);

// Calls `visit` with the path and the value of each tensor of any kind.
void ForEachTensor(const std::string& path, const Value& tree,
                   const std::function<void(const std::string& path, const Value& tensor)>& visit);

}  // namespace shardcts
