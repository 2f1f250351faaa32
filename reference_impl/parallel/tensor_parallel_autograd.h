// The communication of tensor parallelism as autograd functions, in forward and backward. Each is *Collective* over the
// group in the pass in which it communicates; `group` must outlive the graph. Tensors are local parts; a gradient has
// the shape of its tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace shardcts::reference {

// Forward: returns `input`, which is the same on all ranks. Backward: all-reduce (sum), because the gradient of each
// rank covers only what it computed from the value.
at::Tensor EnterParallelRegion(const at::Tensor& input, Communicator& group);

// Forward: all-reduce (sum) of the contributions of all ranks. Backward: returns the gradient, which is the same on all
// ranks.
at::Tensor SumContributions(const at::Tensor& contribution, Communicator& group);

// Forward: this rank's share `value / num_ranks` of a value that is the same on all ranks and whose shares will be
// summed. Backward: returns the gradient, which is complete already. No communication.
at::Tensor ShareOfValue(const at::Tensor& value, int64_t num_ranks);

}  // namespace shardcts::reference
