#include "comm/local/host_memory.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "comm/communicator.h"

namespace shardcts {
namespace {

constexpr int64_t kPageBytes = SharedMemory::kPageBytes;

int64_t RoundedUp(int64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

HostMemory* HostMemory::OfThisProcess() {
  static HostMemory* const memory = []() -> HostMemory* {
    try {
      return new HostMemory(SharedMemory::Make("shardcts-tensors", sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)));
    } catch (const CommunicationError&) {
      return nullptr;
    }
  }();
  return memory;
}

HostMemory::HostMemory(std::unique_ptr<SharedMemory> memory) : memory_(std::move(memory)) {
  memory_->KeepToThisProcess();
  free_[0] = memory_->bytes();
}

c10::DataPtr HostMemory::allocate(size_t bytes) {
  if (bytes < static_cast<size_t>(kLeastBytes)) return c10::GetDefaultCPUAllocator()->allocate(bytes);
  TORCH_CHECK_WITH(OutOfMemoryError, bytes < static_cast<size_t>(memory_->bytes()), "no room for a tensor of ", bytes, " bytes");
  char* begin = memory_->begin() + Take(RoundedUp(static_cast<int64_t>(bytes)));
  return {begin, begin, [](void* freed) { OfThisProcess()->Free(freed); }, c10::DeviceType::CPU};
}

c10::DeleterFnPtr HostMemory::raw_deleter() const {
  return [](void* freed) {
    HostMemory& memory = *OfThisProcess();
    if (memory.OffsetOf(freed, 1)) return memory.Free(freed);
    c10::GetDefaultCPUAllocator()->raw_deleter()(freed);
  };
}

// The first hole that is large enough: what is in use stays close together, and holes are filled before more is touched.
int64_t HostMemory::Take(int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto hole = std::ranges::find_if(free_, [bytes](const auto& entry) { return entry.second >= bytes; });
  TORCH_CHECK_WITH(OutOfMemoryError, hole != free_.end(), "no room for a tensor of ", bytes, " bytes");
  const auto [offset, size] = *hole;
  free_.erase(hole);
  if (size > bytes) free_[offset + bytes] = size - bytes;
  taken_[offset] = bytes;
  taken_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, taken_bytes_);
  if (offset + bytes > touched_) {
    ReturnFreePages();
    touched_ = offset + bytes;
  }
  return offset;
}

void HostMemory::Free(void* begin) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = taken_.find(static_cast<char*>(begin) - memory_->begin());
  auto [offset, size] = *found;
  taken_.erase(found);
  taken_bytes_ -= size;
  const auto next = free_.find(offset + size);
  if (next != free_.end()) {
    size += next->second;
    free_.erase(next);
  }
  const auto after = free_.lower_bound(offset);
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == offset) {
      before->second += size;
      return;
    }
  }
  free_[offset] = size;
}

void HostMemory::ReturnFreePages() {
  for (const auto& [offset, size] : free_) {
    const int64_t end = std::min(offset + size, touched_);
    if (offset < end) madvise(memory_->begin() + offset, static_cast<size_t>(end - offset), MADV_REMOVE);
  }
}

std::optional<int64_t> HostMemory::OffsetOf(const void* begin, int64_t bytes) const {
  const auto at = reinterpret_cast<uintptr_t>(begin);
  const auto first = reinterpret_cast<uintptr_t>(memory_->begin());
  if (at < first || at - first > static_cast<uintptr_t>(memory_->bytes() - bytes)) return std::nullopt;
  return static_cast<int64_t>(at - first);
}

int64_t HostMemory::taken_bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return taken_bytes_;
}

int64_t HostMemory::peak_bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return peak_bytes_;
}

void HostMemory::ForgetPeak() {
  std::lock_guard<std::mutex> lock(mutex_);
  peak_bytes_ = taken_bytes_;
}

}  // namespace shardcts
