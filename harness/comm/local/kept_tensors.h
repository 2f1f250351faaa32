// Tensors of calls that did not finish.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace shardcts {

// *Local*. Peers may still read or write them: their memory must serve nothing else for as long as the process lives.
void KeepForever(std::vector<at::Tensor> tensors);

}  // namespace shardcts
