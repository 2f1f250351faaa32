// CopyValues: Tensor.copy_ for tensors as large as parameters and their state.
#pragma once

#include <ATen/core/Tensor.h>

namespace shardcts::reference {

// *Local*. The same as `target.copy_(source)`. Large copies bypass the caches (comm/copy_bytes.h) when both tensors are
// on the CPU, contiguous and of equal dtype and shape, and autograd does not record the copy.
void CopyValues(const at::Tensor& target, const at::Tensor& source);

}  // namespace shardcts::reference
