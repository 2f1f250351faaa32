// The operators of the emulated devices: memory and views here, everything else by PyTorch's kernels for the CPU, on copies
// (at::native::cpu_fallback), so that results have the CPU's bits.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/NativeFunctions.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/set_cpu_dispatch.h>
#include <c10/core/Allocator.h>
#include <torch/library.h>

#include <optional>
#include <string_view>

#include "devices/hostdev/arena.h"
#include "devices/hostdev/device_copy.h"
#include "devices/hostdev/streams.h"

namespace shardcts::hostdev {
namespace {

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

c10::Device DeviceOr(std::optional<c10::Device> device) {
  return device && device->has_index() ? *device : c10::Device(c10::DeviceType::PrivateUse1, CurrentDevice());
}

at::Tensor EmptyMemoryFormat(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
                             std::optional<c10::Device> device, std::optional<bool> pin_memory,
                             std::optional<c10::MemoryFormat> memory_format) {
  TORCH_CHECK(!pin_memory.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::OptionalDeviceGuard guard(DeviceOr(device));
  return at::detail::empty_generic(size, c10::GetAllocator(c10::DeviceType::PrivateUse1), kKeys,
                                   c10::dtype_or_default(dtype), memory_format);
}

at::Tensor EmptyStrided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                        std::optional<c10::Layout>, std::optional<c10::Device> device, std::optional<bool> pin_memory) {
  TORCH_CHECK(!pin_memory.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::OptionalDeviceGuard guard(DeviceOr(device));
  return at::detail::empty_strided_generic(size, stride, c10::GetAllocator(c10::DeviceType::PrivateUse1), kKeys,
                                           c10::dtype_or_default(dtype));
}

at::Tensor AsStrided(const at::Tensor& self, c10::IntArrayRef size, c10::IntArrayRef stride,
                     std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}

at::Tensor View(const at::Tensor& self, c10::IntArrayRef size) { return at::native::view(self, size); }

at::Tensor ReshapeAlias(const at::Tensor& self, c10::IntArrayRef size, c10::IntArrayRef stride) {
  return at::native::_reshape_alias(self, size, stride);
}

void ResizeBytes(const c10::Storage& storage, size_t bytes) {
  const c10::DeviceGuard guard(storage.device());
  c10::StorageImpl* impl = storage.unsafeGetStorageImpl();
  c10::DataPtr data = impl->allocator()->allocate(bytes);
  const size_t kept = std::min(bytes, storage.nbytes());
  if (kept > 0) {
    Finish(CurrentStream(storage.device().index()));
    std::memcpy(Alias(data.get()), Alias(storage.data()), kept);
  }
  impl->set_data_ptr_noswap(std::move(data));
  impl->set_nbytes(bytes);
}

const at::Tensor& Resize(const at::Tensor& self, c10::IntArrayRef size, std::optional<c10::MemoryFormat>) {
  const size_t bytes = at::detail::computeStorageNbytesContiguous(size, self.itemsize(), self.storage_offset());
  if (self.storage().nbytes() < bytes) ResizeBytes(self.storage(), bytes);
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

at::Tensor& SetStorage(at::Tensor& self, at::Storage source, int64_t offset, c10::IntArrayRef size,
                       c10::IntArrayRef stride) {
  return at::cpu::set_(self, source, offset, size, stride);
}

at::Tensor& SetTensor(at::Tensor& self, const at::Tensor& source) {
  return at::cpu::set_(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

at::Tensor& SetWholeStorage(at::Tensor& self, at::Storage source) {
  const int64_t elements = static_cast<int64_t>(source.nbytes() / self.itemsize());
  return at::cpu::set_(self, source, 0, {elements}, {});
}

at::Scalar LocalScalarDense(const at::Tensor& self) { return at::_local_scalar_dense(Snapshot(self)); }

at::Tensor CopyFromAndResize(const at::Tensor& source, const at::Tensor& target) {
  if (source.sizes() != target.sizes()) target.resize_(source.sizes());
  return CopyFrom(source, target, false);
}

void RecordStreamOperator(at::Tensor& self, c10::Stream stream) { RecordStream(self.storage().data(), stream); }

bool HasCompatibleShallowCopyType(const at::Tensor& self, const at::Tensor& from) {
  const auto dense = [](const at::Tensor& tensor) { return tensor.layout() == at::kStrided; };
  return dense(self) && dense(from);
}

// Operators that take indices or masks on the CPU together with tensors of any device.
bool MayMixDevices(std::string_view name) {
  return name.starts_with("aten::index") || name.starts_with("aten::_index_put_impl") || name == "aten::is_set_to";
}

// As a device of its own memory does: tensors with dimensions are all on one device.
class OneDevice {
 public:
  explicit OneDevice(const c10::OperatorHandle& op) : op_(op) {}

  void Check(const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    if (tensor.is_privateuseone()) {
      Remember(tensor.device());
    } else if (tensor.dim() > 0 && tensor.is_cpu() && !MayMixDevices(op_.schema().name())) {
      Remember(tensor.device());
    }
  }

 private:
  void Remember(c10::Device device) {
    if (!device_) device_ = device;
    TORCH_CHECK(*device_ == device, "Expected all tensors to be on the same device, but found at least two devices, ",
                *device_, " and ", device, "! (", op_.schema().name(), ")");
  }

  const c10::OperatorHandle& op_;
  std::optional<c10::Device> device_;
};

void CheckDevices(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  OneDevice one(op);
  const size_t arguments = op.schema().arguments().size();
  for (size_t i = stack.size() - arguments; i < stack.size(); ++i) {
    if (stack[i].isTensor()) {
      one.Check(stack[i].toTensor());
    } else if (stack[i].isTensorList()) {
      for (const at::Tensor& tensor : stack[i].toTensorVector()) one.Check(tensor);
    }
  }
}

void RunOnCpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  CheckDevices(op, *stack);
  const KernelScope kernel;
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&RunOnCpu>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", EmptyMemoryFormat);
  m.impl("empty_strided", EmptyStrided);
  m.impl("as_strided", AsStrided);
  m.impl("view", View);
  m.impl("_reshape_alias", ReshapeAlias);
  m.impl("view_as_real", at::native::view_as_real);
  m.impl("view_as_complex", at::native::view_as_complex);
  m.impl("resize_", Resize);
  m.impl("set_.source_Storage", SetWholeStorage);
  m.impl("set_.source_Storage_storage_offset", SetStorage);
  m.impl("set_.source_Tensor", SetTensor);
  m.impl("_local_scalar_dense", LocalScalarDense);
  m.impl("_copy_from", CopyFrom);
  m.impl("_copy_from_and_resize", CopyFromAndResize);
  m.impl("record_stream", RecordStreamOperator);
  m.impl("_has_compatible_shallow_copy_type", HasCompatibleShallowCopyType);
}

// Copies see to conjugated and negated elements themselves (AliasOf). Without this PyTorch would make them by a copy.
TORCH_LIBRARY_IMPL(aten, Conjugate, m) { m.impl("_copy_from", torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, Negative, m) { m.impl("_copy_from", torch::CppFunction::makeFallthrough()); }

}  // namespace

// For the hooks.
void ResizeStorage(const c10::Storage& storage, size_t bytes) { ResizeBytes(storage, bytes); }

}  // namespace shardcts::hostdev
