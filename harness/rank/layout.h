// Which cut of tensors a test may expect: PyTorch's, or whatever the implementation has (capability layout.pytorch).
#pragma once

#include "rank/trial.h"

namespace shardcts {

// The parameter under which a test knows it: "pytorch" or "own". Without it: "pytorch".
inline constexpr const char* kLayoutParameter = "$layout";

// *Local*. Whether the implementation declares layout.pytorch.
bool HasPytorchLayout(const Trial& t);

// *Collective*. The part of `full` that this rank's part of the tensor stands for: by the contract's formula, or with a
// cut of the implementation's own by the sizes of all ranks' parts. A cut that does not tile the tensor fails the test.
at::Tensor OwnSlice(Trial& t, const at::Tensor& full, const DTensor& tensor);

}  // namespace shardcts
