// Tensors that are made during an operation lie where the communicator moves them best.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include "comm/communicator.h"

namespace shardcts::reference {

// *Local*. While it lives, this process's CPU tensors come from the communicator's DirectMemory, where it has any; not
// where somebody else has replaced LibTorch's allocator, maybe to count what tensors need. For one thread at a time.
class DirectMemoryScope {
 public:
  explicit DirectMemoryScope(Communicator& communicator) {
    c10::Allocator* memory = communicator.DirectMemory();
    is_set_ = memory && c10::GetAllocator(c10::kCPU) == c10::GetDefaultCPUAllocator();
    if (is_set_) c10::SetAllocator(c10::kCPU, memory);
  }
  ~DirectMemoryScope() {
    if (is_set_) c10::SetAllocator(c10::kCPU, c10::GetDefaultCPUAllocator());
  }
  DirectMemoryScope(const DirectMemoryScope&) = delete;
  DirectMemoryScope& operator=(const DirectMemoryScope&) = delete;

 private:
  bool is_set_ = false;
};

}  // namespace shardcts::reference
