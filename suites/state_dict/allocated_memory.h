// The memory that a function needs: bytes of tensors, as counted in LibTorch's allocator. Resident memory would be less
// precise, because malloc keeps freed memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace shardcts::state_dict {

struct AllocatedBytes {
  int64_t peak = 0;  // maximum at any time
  int64_t left = 0;  // still allocated at the end
};

// Runs `body` and returns the bytes that it allocated on the CPU, on this thread, for storages of any tensors. Memory
// counts until it is freed, by any thread. If the count would exceed a limit, it waits up to 5 s for memory that
// another thread is about to free: a thread of a backend may release a tensor shortly after its collective has ended.
// Not nested. *Local*.
AllocatedBytes CountAllocatedBytes(const AllocatedBytes& limits, const std::function<void()>& body);

// What the body allocates on this rank's accelerator, from PyTorch's own counters of its allocator.
struct DeviceBytes {
  int64_t left = 0;  // still allocated at the end
  int64_t peak = 0;  // at any time
};

// Runs `body`. nullopt: the device type has no such counters; the body has not run. *Local*.
std::optional<DeviceBytes> CountDeviceBytes(const std::string& device_type, const std::function<void()>& body);

}  // namespace shardcts::state_dict
