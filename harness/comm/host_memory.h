// HostMemory: memory of this process that other processes of the host can read and write as well. Tensors in it go from
// one rank to another in one copy (direct_exchange.h).
#pragma once

#include <c10/core/Allocator.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace shardcts {

// One file without a name, mapped as a whole, as large as the machine's memory; of it exists what has been touched.
// Freed memory is kept for the next tensor, since the system gives new memory page by page, several times slower than
// it is copied; it goes back to the system before more than ever before is taken. Thread-safe. Children of a fork do
// not have it.
class HostMemory final : public c10::Allocator {
 public:
  // From this size on tensors lie in it; smaller ones are malloc's.
  static constexpr int64_t kLeastBytes = 64 << 10;

  // Made at the first call; it lasts as long as the process. nullptr: the system gives no such memory.
  static HostMemory* OfThisProcess();

  // c10::OutOfMemoryError when there is no room left.
  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  // Where these bytes lie in it; nullopt: elsewhere.
  std::optional<int64_t> OffsetOf(const void* begin, int64_t bytes) const;
  // Of all tensors in it now, and the most since the process began or since ForgetPeak.
  int64_t taken_bytes() const;
  int64_t peak_bytes() const;
  void ForgetPeak();

  // With it another process finds this memory.
  std::string Ticket() const;
  // The memory that belongs to a ticket, in this process's addresses; it stays mapped. nullptr: it cannot be seen from
  // here, because its process has ended, is on another host or in a container of its own.
  static char* Find(const std::string& ticket);

 private:
  HostMemory(int file, char* begin, int64_t bytes, std::string token);
  int64_t Take(int64_t bytes);
  void Free(void* begin);
  void GiveBack();

  int file_;
  char* begin_;
  int64_t bytes_;
  std::string token_;
  mutable std::mutex mutex_;
  std::map<int64_t, int64_t> free_;   // offset → bytes; no two adjoin
  std::map<int64_t, int64_t> taken_;  // offset → bytes
  int64_t taken_bytes_ = 0;
  int64_t peak_bytes_ = 0;
  int64_t touched_ = 0;  // nothing from here on has ever been taken
};

}  // namespace shardcts
