// Event: wakes processes of one host that wait for what another one writes into memory that they share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace shardcts {

// Lives in shared memory, where zeros are an event that was never notified. A process that is killed in a wait harms
// nobody.
//
// Who waits reads Count() first, then looks whether what it waits for is there, and if not waits for the next
// notification. Who has written it notifies. So no notification is missed.
class Event {
 public:
  uint32_t Count() const { return count_.load(std::memory_order_acquire); }
  void Notify();
  // Returns when the event has been notified since Count() gave `count`, after `limit`, or before for no reason.
  void Wait(uint32_t count, std::chrono::nanoseconds limit);

 private:
  std::atomic<uint32_t> count_;
  std::atomic<uint32_t> waiting_;  // a notification that nobody waits for costs no system call
};

}  // namespace shardcts
