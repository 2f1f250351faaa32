// CopyValues: Tensor.copy_ for tensors as large as parameters and their state.
#pragma once

#include <ATen/core/Tensor.h>

namespace shardcts::reference {

// *Local*. What `target.copy_(source)` does; past the processor's caches where both are on the CPU, contiguous and alike
// in dtype and shape, and autograd does not record it.
void CopyValues(const at::Tensor& target, const at::Tensor& source);

}  // namespace shardcts::reference
