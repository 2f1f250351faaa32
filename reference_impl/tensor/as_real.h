// Complex numbers as pairs of real ones. *Local*.
#pragma once

#include <ATen/ops/view_as_real.h>

namespace shardcts::reference {

// (..., 2), sharing storage: what sums, averages and elementwise arithmetic of complex numbers are made of. Other tensors
// themselves.
inline at::Tensor AsReal(const at::Tensor& tensor) { return tensor.is_complex() ? at::view_as_real(tensor) : tensor; }

}  // namespace shardcts::reference
