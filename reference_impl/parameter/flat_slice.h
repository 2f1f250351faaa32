// How a parameter can be a range of elements of a larger one: the value of models::Parameter::distribution in that
// case.
#pragma once

#include <cstdint>
#include <vector>

#include "models/module.h"

namespace shardcts::reference {

// The parameter's value is elements [begin, begin + value.numel()) of a contiguous tensor of this shape. The value is
// 1-D, or has that shape if it is complete.
struct FlatSliceDistribution : models::Distribution {
  std::vector<int64_t> shape;
  int64_t begin = 0;
};

// *Local*. nullptr: the parameter is not a slice.
inline const FlatSliceDistribution* FindFlatSlice(const models::Parameter& parameter) {
  return dynamic_cast<const FlatSliceDistribution*>(parameter.distribution.get());
}

// *Local*. A state-dict entry that means: the elements of this slice of a tensor of `shape` have already been written.
// It has that shape and no values.
at::Tensor WrittenSlice(const at::Tensor& slice, const std::vector<int64_t>& shape);
bool IsWrittenSlice(const at::Tensor& entry, const at::Tensor& slice);

}  // namespace shardcts::reference
