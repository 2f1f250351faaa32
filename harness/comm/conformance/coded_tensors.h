// Tensors whose values say where they come from, and the closed forms of what the collectives make of them. All
// *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "comm/communicator.h"

namespace shardcts {

// Every dtype of the contract: any of them can be moved. Those without complex can be reduced.
const std::vector<at::ScalarType>& MovableDtypes();
const std::vector<at::ScalarType>& ReducibleDtypes();

// Element i of rank r is (10 * r + i) % 17, as bool (10 * r + i) % 2. Shape [count].
at::Tensor Coded(int rank, int64_t count, at::ScalarType type);

// What rank `rank` of `size` gives to a reduction: Coded values, changed so that no intermediate value is rounded in
// any dtype and in any order. Shape [count].
at::Tensor Addend(int rank, int size, int64_t count, at::ScalarType type, ReduceOp op);
// The reduction of all ranks' Addends.
at::Tensor Reduced(int size, int64_t count, at::ScalarType type, ReduceOp op);

// Same dtype, shape and values.
bool Same(const at::Tensor& a, const at::Tensor& b);

}  // namespace shardcts
