// How a parameter can be a run of elements of a larger one: what hangs on models::Parameter::distribution then.
#pragma once

#include <cstdint>
#include <vector>

#include "models/module.h"

namespace shardcts::reference {

// The parameter's value is elements [begin, begin + value.numel()) of a contiguous tensor of this shape: 1-D, or all of
// it in that shape.
struct FlatSliceDistribution : models::Distribution {
  std::vector<int64_t> shape;
  int64_t begin = 0;
};

// *Local*. nullptr when the parameter is no slice.
inline const FlatSliceDistribution* FindFlatSlice(const models::Parameter& parameter) {
  return dynamic_cast<const FlatSliceDistribution*>(parameter.distribution.get());
}

// *Local*. The entry of a state dict that says: the elements of this slice, of a tensor of `shape`, are in place
// already. It has that shape, and no values of its own.
at::Tensor WrittenSlice(const at::Tensor& slice, const std::vector<int64_t>& shape);
bool IsWrittenSlice(const at::Tensor& entry, const at::Tensor& slice);

}  // namespace shardcts::reference
