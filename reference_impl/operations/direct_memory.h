// Tensors that are made during an operation lie where the communicator moves them best.
#pragma once

#include <c10/core/Allocator.h>

#include "comm/communicator.h"

namespace shardcts::reference {

// *Local*. While it lives, this process's CPU tensors come from the communicator's DirectMemory, where it has any.
// For one thread at a time.
class DirectMemoryScope {
 public:
  explicit DirectMemoryScope(Communicator& communicator) {
    c10::Allocator* memory = communicator.DirectMemory();
    if (!memory) return;
    before_ = c10::GetAllocator(c10::kCPU);
    c10::SetAllocator(c10::kCPU, memory);
  }
  ~DirectMemoryScope() {
    if (before_) c10::SetAllocator(c10::kCPU, before_);
  }
  DirectMemoryScope(const DirectMemoryScope&) = delete;
  DirectMemoryScope& operator=(const DirectMemoryScope&) = delete;

 private:
  c10::Allocator* before_ = nullptr;
};

}  // namespace shardcts::reference
