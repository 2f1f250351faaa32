#include "comm/local/event.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

namespace shardcts {
namespace {

static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == sizeof(uint32_t),
              "the kernel and other processes know these numbers");

// Not a private futex: other processes have the number at other addresses.
void Futex(std::atomic<uint32_t>& number, int operation, uint32_t value, const timespec* limit) {
  ::syscall(SYS_futex, &number, operation, value, limit, nullptr, 0);
}

}  // namespace

void Event::Notify() {
  count_.fetch_add(1);
  if (waiting_.load() > 0) Futex(count_, FUTEX_WAKE, INT_MAX, nullptr);
}

void Event::Wait(uint32_t count, std::chrono::nanoseconds limit) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const timespec time{static_cast<time_t>(seconds.count()), static_cast<long>((limit - seconds).count())};
  waiting_.fetch_add(1);
  Futex(count_, FUTEX_WAIT, count, &time);  // the kernel compares once more
  waiting_.fetch_sub(1);
}

}  // namespace shardcts
