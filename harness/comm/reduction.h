// Reductions of what the ranks of a group give, in rank order. All *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "comm/communicator.h"

namespace shardcts {

std::string NameOf(ReduceOp op);  // "sum"

// Throws std::invalid_argument for a reduction that the dtype does not have.
void CheckReduction(at::ScalarType type, ReduceOp op);

// float16 or bfloat16.
bool IsHalf(const at::Tensor& tensor);

// Reduces the rows of `parts` (one per rank) in float32, in row order; the result is rounded once.
at::Tensor ReduceHalf(const at::Tensor& parts, ReduceOp op);

// The reduction of `parts`, one per rank, of the same shape and dtype, in rank order. bool sums and products are logical
// or and logical and.
at::Tensor Reduce(const std::vector<at::Tensor>& parts, ReduceOp op);

}  // namespace shardcts
