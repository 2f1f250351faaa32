#include "devices/hostdev/device_copy.h"

#include <ATen/ATen.h>

#include <cstring>
#include <limits>

#include "devices/hostdev/arena.h"
#include "devices/hostdev/device_code.h"
#include "devices/hostdev/streams.h"

namespace shardcts::hostdev {
namespace {

thread_local int kernels = 0;

bool IsOnDevice(const at::Tensor& tensor) { return tensor.is_privateuseone(); }

c10::Stream StreamOf(const at::Tensor& tensor) { return CurrentStream(tensor.device().index()); }

// A copy whose source the host could change: the bytes as they are now.
at::Tensor Kept(const at::Tensor& on_cpu) { return on_cpu.is_contiguous() ? on_cpu.clone() : on_cpu.contiguous(); }

void ToDevice(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  if (kernels > 0) return WriteLater(target, source);
  const bool by_itself = non_blocking && IsPinned(source.data_ptr());
  const at::Tensor alias = AliasOf(target);
  if (!by_itself || !NextIsLate()) {
    Finish(StreamOf(target));
    alias.copy_(source);
    return;
  }
  // The device reads the source's memory when it comes to it: whoever changes it before has changed what is copied.
  Poison(alias);
  Submit(StreamOf(target), [alias, memory = at::alias(source)] { alias.copy_(memory); }, true);
}

void ToHost(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  const bool by_itself = non_blocking && IsPinned(target.data_ptr()) && NextIsLate();
  if (!by_itself) {
    Finish(StreamOf(source));
    target.copy_(AliasOf(source));
    return;
  }
  const at::Tensor values = Snapshot(source);
  Poison(target);
  Submit(StreamOf(source), [memory = at::alias(target), values] { memory.copy_(values); }, true);
}

void BetweenDevices(const at::Tensor& source, const at::Tensor& target) { WriteLater(target, Snapshot(source)); }

}  // namespace

KernelScope::KernelScope() { ++kernels; }
KernelScope::~KernelScope() { --kernels; }

at::Tensor AliasOf(const at::Tensor& tensor) {
  if (!IsOnDevice(tensor)) return tensor;
  const at::TensorOptions options = at::TensorOptions().dtype(tensor.dtype()).device(at::kCPU);
  void* address = tensor.storage().mutable_data();
  if (address == nullptr) return at::empty_strided(tensor.sizes(), tensor.strides(), options);
  at::Tensor alias = at::from_blob(static_cast<char*>(Alias(address)) + tensor.storage_offset() * tensor.itemsize(),
                                   tensor.sizes(), tensor.strides(), options);
  if (tensor.is_conj()) alias = at::conj(alias);
  if (tensor.is_neg()) alias._set_neg(true);
  return alias;
}

at::Tensor Snapshot(const at::Tensor& tensor) {
  if (IsOnDevice(tensor)) Finish(StreamOf(tensor));
  return Kept(AliasOf(tensor));
}

void WriteLater(const at::Tensor& target, const at::Tensor& values) {
  const at::Tensor alias = AliasOf(target);
  if (!NextIsLate()) {
    Finish(StreamOf(target));
    alias.copy_(values);
    return;
  }
  const at::Tensor kept = Kept(values);
  Poison(alias);
  Submit(StreamOf(target), [alias, kept] { alias.copy_(kept); }, true);
}

void Poison(const at::Tensor& on_cpu) {
  if (on_cpu.numel() == 0) return;
  if (on_cpu.is_non_overlapping_and_dense()) {
    std::memset(on_cpu.data_ptr(), on_cpu.scalar_type() == at::kBool ? 1 : kPoison, on_cpu.nbytes());
  } else if (on_cpu.is_floating_point() || on_cpu.is_complex()) {
    on_cpu.fill_(std::numeric_limits<double>::quiet_NaN());
  } else {
    on_cpu.fill_(on_cpu.scalar_type() == at::kBool ? 1 : at::isIntegralType(on_cpu.scalar_type(), false) ? -1 : 0);
  }
}

at::Tensor CopyFrom(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  const DeviceCode device_code;
  TORCH_CHECK(source.sizes() == target.sizes(), "hostdev: copy of ", source.sizes(), " into ", target.sizes());
  if (source.numel() == 0) return target;
  if (IsOnDevice(source) && IsOnDevice(target)) {
    BetweenDevices(source, target);
  } else if (IsOnDevice(target)) {
    ToDevice(source, target, non_blocking);
  } else {
    ToHost(source, target, non_blocking);
  }
  return target;
}

}  // namespace shardcts::hostdev
