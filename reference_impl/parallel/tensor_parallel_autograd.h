// The communications of tensor parallelism as autograd functions: what each does forward and backward.
// Each is *Collective* over the group in the pass in which it communicates; `group` must outlive the graph. Tensors are
// local parts; gradients have the shapes of what they are gradients of.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace shardcts::reference {

// Forward: `input` as it is, a value that all ranks have alike. Backward: all-reduce (sum), because each rank's
// gradient covers only what it computed from the value.
at::Tensor EnterParallelRegion(const at::Tensor& input, Communicator& group);

// Forward: all-reduce (sum) of each rank's contribution. Backward: the gradient as it is, alike on all ranks.
at::Tensor SumContributions(const at::Tensor& contribution, Communicator& group);

// Forward: this rank's share `value / num_ranks` of a value that all ranks have alike and whose shares will be summed.
// Backward: the gradient as it is, which is already the whole one. No communication.
at::Tensor ShareOfValue(const at::Tensor& value, int64_t num_ranks);

}  // namespace shardcts::reference
