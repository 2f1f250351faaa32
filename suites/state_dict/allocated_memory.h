// How much memory something needs: bytes of tensors, as LibTorch's allocator gives them out. Resident memory would say
// less, because malloc keeps what is freed.
#pragma once

#include <cstdint>
#include <functional>

namespace shardcts::state_dict {

struct AllocatedBytes {
  int64_t peak = 0;  // at most at any time
  int64_t left = 0;  // still there at the end
};

// Runs `body`; what it allocated on the CPU meanwhile, on this thread, in storages of whoever's tensors. Memory counts
// until it is freed, by any thread. Where that would go beyond a limit, it waits for memory that another thread is
// about to free, until 5 s were in vain: a backend's thread may drop a tensor shortly after its collective has ended.
// Not nested. *Local*.
AllocatedBytes CountAllocatedBytes(const AllocatedBytes& limits, const std::function<void()>& body);

}  // namespace shardcts::state_dict
