// Reductions of the 16-bit floating-point types, which MPI does not know.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace shardcts {

// float16 or bfloat16.
bool IsHalf(const at::Tensor& tensor);

// *Local*. Reduces the rows of `parts` (one per rank) in float32, in row order; the result is rounded once.
at::Tensor ReduceHalf(const at::Tensor& parts, ReduceOp op);

}  // namespace shardcts
