#include "fsdp/lent_memory.h"

#include <ATen/ATen.h>
#include <sys/mman.h>

namespace shardcts::reference {
namespace {

// From this size on pages of 2 MiB are worth it: one first touch instead of 512.
constexpr size_t kHugeBytes = 2 << 20;

void AdviseHugePages(const at::Tensor& tensor) {
  const auto begin = reinterpret_cast<uintptr_t>(tensor.mutable_data_ptr());
  const uintptr_t first = (begin + kHugeBytes - 1) / kHugeBytes * kHugeBytes;
  const uintptr_t end = (begin + tensor.nbytes()) / kHugeBytes * kHugeBytes;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);  // a wish, no more
}

}  // namespace

at::Tensor LentMemory::Take(int64_t numel, const at::TensorOptions& options) {
  at::Tensor piece;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    std::swap(piece, kept_);
  }
  const bool fits = piece.defined() && piece.numel() == numel && piece.dtype() == options.dtype() &&
                    piece.device() == options.device();
  if (!fits) {
    piece = at::empty({numel}, options);
    if (piece.is_cpu()) AdviseHugePages(piece);
  }
  const auto come_back = [weak = weak_from_this(), piece](void*) {
    if (const auto self = weak.lock()) self->Keep(piece);
  };
  return at::from_blob(piece.mutable_data_ptr(), {numel}, come_back, piece.options());
}

void LentMemory::Keep(const at::Tensor& piece) {
  at::Tensor before = piece;
  std::lock_guard<std::mutex> lock(mutex_);
  std::swap(before, kept_);
}

void LentMemory::Release() {
  at::Tensor before;
  std::lock_guard<std::mutex> lock(mutex_);
  std::swap(before, kept_);
}

size_t LentMemory::KeptBytes() {
  std::lock_guard<std::mutex> lock(mutex_);
  return kept_.defined() ? kept_.nbytes() : 0;
}

}  // namespace shardcts::reference
