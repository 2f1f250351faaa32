// How device code reads and writes tensors of an emulated device. All functions are *Local*.
#pragma once

#include <ATen/core/Tensor.h>

namespace shardcts::hostdev {

// A tensor on the CPU over the same bytes, for device code only; one that is on no emulated device is returned as it is.
at::Tensor AliasOf(const at::Tensor& tensor);

// What `tensor` holds once the work of its device's current stream is done, as a tensor of its own on the CPU.
at::Tensor Snapshot(const at::Tensor& tensor);

// `values` (on the CPU, same shape) into a device's tensor, by the current stream: late, or at once.
void WriteLater(const at::Tensor& target, const at::Tensor& values);

// Marks of what is not there yet: NaN, -1, or the largest value of unsigned types.
void Poison(const at::Tensor& on_cpu);

// aten::_copy_from. Host to device and back too: these are done when the function returns, unless `non_blocking` and the
// host's memory is pinned.
at::Tensor CopyFrom(const at::Tensor& source, const at::Tensor& target, bool non_blocking);

// While it lives, what this thread copies to a device is the result of a kernel, which may be late.
class KernelScope {
 public:
  KernelScope();
  ~KernelScope();
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;
};

}  // namespace shardcts::hostdev
