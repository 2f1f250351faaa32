// Event: wakes processes of one host that wait for what another one writes into memory that they share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace shardcts {

// To be placed in shared memory; zeros are an event that was never notified. A process that is killed in a wait does
// not affect the others.
//
// A waiting process reads Count() first, then checks its condition, and if that does not hold waits for the next
// notification. The process that makes the condition true notifies. So no notification is missed.
class Event {
 public:
  uint32_t Count() const { return count_.load(std::memory_order_acquire); }
  void Notify();
  // Returns when the event has been notified since Count() gave `count`, after `limit`, or spuriously before.
  void Wait(uint32_t count, std::chrono::nanoseconds limit);

 private:
  std::atomic<uint32_t> count_;
  std::atomic<uint32_t> waiting_;  // a notification without a waiting process needs no system call
};

}  // namespace shardcts
