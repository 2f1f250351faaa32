#include "parameter/flat_slice.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace shardcts::reference {

at::Tensor WrittenSlice(const at::Tensor& slice, const std::vector<int64_t>& shape) {
  if (slice.numel() == 0) return at::empty(shape, slice.options().device(at::kMeta));
  return slice.as_strided(shape, std::vector<int64_t>(shape.size(), 0));
}

// No real tensor to be loaded looks like this: all its elements would be the slice's own first one.
bool IsWrittenSlice(const at::Tensor& entry, const at::Tensor& slice) {
  if (slice.numel() == 0) return entry.is_meta();
  return entry.const_data_ptr() == slice.const_data_ptr() &&
         std::ranges::all_of(entry.strides(), [](int64_t stride) { return stride == 0; });
}

}  // namespace shardcts::reference
