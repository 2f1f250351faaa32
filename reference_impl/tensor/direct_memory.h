// Allocates the tensors of an operation in memory that the communicator can move without messages.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include "comm/communicator.h"

namespace shardcts::reference {

// *Local*. During its lifetime the CPU tensors of this process are allocated in the communicator's DirectMemory, if it
// has any; not if LibTorch's allocator has already been replaced, for example to count allocations. For one thread at a
// time.
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
