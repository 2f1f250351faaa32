#include "tensor/copy_values.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "comm/copy_bytes.h"

namespace shardcts::reference {
namespace {

bool IsPlainMemory(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.layout() == at::kStrided && tensor.is_contiguous() && !tensor.is_neg() &&
         !tensor.is_conj() && !tensor.is_quantized();
}

bool AreAlikeInMemory(const at::Tensor& target, const at::Tensor& source) {
  return IsPlainMemory(target) && IsPlainMemory(source) && target.scalar_type() == source.scalar_type() &&
         target.sizes() == source.sizes() && !target.is_alias_of(source);
}

}  // namespace

void CopyValues(const at::Tensor& target, const at::Tensor& source) {
  const bool is_recorded = c10::GradMode::is_enabled() && (target.requires_grad() || source.requires_grad());
  if (is_recorded || !AreAlikeInMemory(target, source)) {
    target.copy_(source);
    return;
  }
  CopyBytes(static_cast<char*>(target.mutable_data_ptr()), static_cast<const char*>(source.const_data_ptr()),
            static_cast<int64_t>(target.nbytes()));
  if (!target.is_inference()) target.unsafeGetTensorImpl()->bump_version();
}

}  // namespace shardcts::reference
