// HostMemory: memory of this process that other processes of the host can read and write as well. Tensors in it go from
// one rank to another in one copy (direct_exchange.h).
#pragma once

#include <c10/core/Allocator.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "comm/local/shared_memory.h"

namespace shardcts {

// One mapping as large as the machine's memory; pages are allocated on first touch. Freed memory is kept for the next
// tensor, since first use of new pages takes several times as long as the copy into them; free memory is
// returned to the kernel before the peak grows. Thread-safe. Children of a fork do not have it.
class HostMemory final : public c10::Allocator {
 public:
  // From this size on tensors are allocated in it; smaller ones with malloc.
  static constexpr int64_t kLeastBytes = 64 << 10;

  // Made at the first call; it lasts as long as the process. nullptr: the system gives no such memory, or less than a
  // limit of this process allows (ulimit -f, ulimit -v).
  static HostMemory* OfThisProcess();

  // c10::OutOfMemoryError when there is no room left.
  c10::DataPtr allocate(size_t bytes) override;
  // Libraries that LibTorch calls take and free memory without a DataPtr, as oneDNN does: of either kind.
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  // The offset of these bytes in it; nullopt: they are elsewhere.
  std::optional<int64_t> OffsetOf(const void* begin, int64_t bytes) const;
  // Of all tensors in it now, and the most since the process began or since ForgetPeak.
  int64_t taken_bytes() const;
  int64_t peak_bytes() const;
  void ForgetPeak();

  // Where offsets count from.
  const SharedMemory& memory() const { return *memory_; }

 private:
  explicit HostMemory(std::unique_ptr<SharedMemory> memory);
  int64_t Take(int64_t bytes);
  void Free(void* begin);
  void ReturnFreePages();

  std::unique_ptr<SharedMemory> memory_;
  mutable std::mutex mutex_;
  std::map<int64_t, int64_t> free_;   // offset → bytes; no two adjoin
  std::map<int64_t, int64_t> taken_;  // offset → bytes
  int64_t taken_bytes_ = 0;
  int64_t peak_bytes_ = 0;
  int64_t touched_ = 0;  // nothing from here on has ever been taken
};

}  // namespace shardcts
