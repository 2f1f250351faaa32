// Whole tensors for comparisons, from the parts that the ranks hold. The implementation under test has no hand in it, so
// a layout that it splits and gathers wrongly in the same way does not look right.
#pragma once

#include "rank/trial.h"

namespace shardcts {

// The value, also of nested dicts and lists, with whole plain tensors in the place of DTensors and ShardedTensors.
// *Collective* when it has any; they must have the same paths on every rank. One whose parts do not make up a whole
// fails the test, outside any check, and stays as it is.
Value Whole(Trial& t, const Value& tree);
Dict WholeDict(Trial& t, const Dict& tree);

// A Tensor, DTensor or ShardedTensor.
bool IsTensor(const Value& value);

// Calls `visit` with the path and the value of each tensor of any kind.
void ForEachTensor(const std::string& path, const Value& tree,
                   const std::function<void(const std::string& path, const Value& tensor)>& visit);

}  // namespace shardcts
