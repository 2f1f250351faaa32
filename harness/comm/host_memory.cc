#include "comm/host_memory.h"

#include <c10/core/CPUAllocator.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <sstream>

namespace shardcts {
namespace {

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kTokenBytes = 32;

int64_t RoundedUp(int64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

std::string NewToken() {
  std::random_device random;
  std::string token;
  while (token.size() < kTokenBytes) token += static_cast<char>('a' + random() % 26);
  return token;
}

char* MapWhole(int file, int64_t bytes) {
  void* mapped = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  return mapped == MAP_FAILED ? nullptr : static_cast<char*>(mapped);
}

// nullptr when that is not the file with the token.
char* MapIfItIs(int file, int64_t bytes, const std::string& token) {
  struct stat status = {};
  if (fstat(file, &status) != 0 || status.st_size != bytes) return nullptr;
  char* begin = MapWhole(file, bytes);
  if (!begin) return nullptr;
  if (std::memcmp(begin, token.data(), token.size()) == 0) {
    madvise(begin, static_cast<size_t>(bytes), MADV_DONTDUMP);
    return begin;
  }
  munmap(begin, static_cast<size_t>(bytes));
  return nullptr;
}

}  // namespace

HostMemory* HostMemory::OfThisProcess() {
  static HostMemory* const memory = []() -> HostMemory* {
    const int64_t bytes = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    const int file = memfd_create("shardcts-tensors", MFD_CLOEXEC);
    if (file < 0) return nullptr;
    char* begin = ftruncate(file, bytes) == 0 ? MapWhole(file, bytes) : nullptr;
    if (!begin) {
      close(file);
      return nullptr;
    }
    madvise(begin, static_cast<size_t>(bytes), MADV_DONTFORK);
    return new HostMemory(file, begin, bytes, NewToken());
  }();
  return memory;
}

HostMemory::HostMemory(int file, char* begin, int64_t bytes, std::string token)
    : file_(file), begin_(begin), bytes_(bytes), token_(std::move(token)) {
  std::memcpy(begin_, token_.data(), token_.size());
  free_[kPageBytes] = bytes - kPageBytes;
}

c10::DataPtr HostMemory::allocate(size_t bytes) {
  if (bytes < static_cast<size_t>(kLeastBytes)) return c10::GetDefaultCPUAllocator()->allocate(bytes);
  TORCH_CHECK_WITH(OutOfMemoryError, bytes < static_cast<size_t>(bytes_), "no room for a tensor of ", bytes, " bytes");
  char* begin = begin_ + Take(RoundedUp(static_cast<int64_t>(bytes)));
  return {begin, begin, [](void* freed) { OfThisProcess()->Free(freed); }, c10::DeviceType::CPU};
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
    GiveBack();
    touched_ = offset + bytes;
  }
  return offset;
}

void HostMemory::Free(void* begin) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = taken_.find(static_cast<char*>(begin) - begin_);
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

void HostMemory::GiveBack() {
  for (const auto& [offset, size] : free_) {
    const int64_t end = std::min(offset + size, touched_);
    if (offset < end) fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, end - offset);
  }
}

std::optional<int64_t> HostMemory::OffsetOf(const void* begin, int64_t bytes) const {
  const auto at = reinterpret_cast<uintptr_t>(begin);
  const auto first = reinterpret_cast<uintptr_t>(begin_);
  if (at < first || at - first > static_cast<uintptr_t>(bytes_ - bytes)) return std::nullopt;
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

std::string HostMemory::Ticket() const {
  return std::to_string(getpid()) + " " + std::to_string(file_) + " " + std::to_string(bytes_) + " " + token_;
}

char* HostMemory::Find(const std::string& ticket) {
  static std::mutex mutex;
  static std::map<std::string, char*> found;
  std::lock_guard<std::mutex> lock(mutex);
  const auto known = found.find(ticket);
  if (known != found.end()) return known->second;
  std::istringstream words(ticket);
  uint32_t process = 0;
  uint32_t number = 0;
  int64_t bytes = 0;
  std::string token;
  if (!(words >> process >> number >> bytes >> token) || bytes < kPageBytes || token.size() != kTokenBytes) return nullptr;
  const std::string path = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(number);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return nullptr;
  char* begin = MapIfItIs(file, bytes, token);
  close(file);
  if (begin) found[ticket] = begin;
  return begin;
}

}  // namespace shardcts
