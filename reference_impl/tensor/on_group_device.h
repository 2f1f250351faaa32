// Collectives on a tensor that may be on another device than the group's, such as offloaded parameters: the values
// travel over the group's device and come back. Both are *Collective*; the tensor is contiguous.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace shardcts::reference {

void BroadcastValues(Communicator& group, const at::Tensor& tensor, int root);
void ReduceValues(Communicator& group, const at::Tensor& tensor, ReduceOp op);

}  // namespace shardcts::reference
