// Tensors of calls that did not finish.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace shardcts {

// *Local*. Peers may still read or write them: their memory must not be reused until the process ends.
void KeepForever(std::vector<at::Tensor> tensors);

}  // namespace shardcts
