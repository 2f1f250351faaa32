// LentMemory: memory for tensors that leave the unit, in state dicts and scopes, and that comes back as the last tensor
// on it goes. The next one takes it again: the system gives memory page by page at first touch, which takes several
// times as long as copying the bytes into it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>

namespace shardcts::reference {

// One piece at most is kept; with this object its memory ends. Thread-safe: tensors may end on any thread.
class LentMemory : public std::enable_shared_from_this<LentMemory> {
 public:
  // *Local*. A new 1-D tensor with undefined content. Its storage cannot be resized.
  at::Tensor Take(int64_t numel, const at::TensorOptions& options);
  // *Local*. Gives what is kept back to the system.
  void Release();
  // *Local*. Bytes that are kept and in no tensor's use.
  size_t KeptBytes();

 private:
  void Keep(const at::Tensor& piece);

  std::mutex mutex_;
  at::Tensor kept_;
};

}  // namespace shardcts::reference
