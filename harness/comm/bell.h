// Bell: wakes processes of one host that wait for what another one writes into memory that they share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace shardcts {

// Lives in shared memory, where zeros are a bell that has never rung. A process that has ended in a wait harms nobody.
//
// Who waits reads Rings() first, then looks whether what it waits for is there, and awaits the next ring if not. Who has
// written it rings. So no ring is missed.
class Bell {
 public:
  uint32_t Rings() const { return rings_.load(std::memory_order_acquire); }
  void Ring();
  // Returns when the bell has rung since it had rung `rings` times, after `limit`, or before for no reason.
  void Await(uint32_t rings, std::chrono::nanoseconds limit);

 private:
  std::atomic<uint32_t> rings_;
  std::atomic<uint32_t> waiting_;  // a ring that nobody awaits costs no call of the system
};

}  // namespace shardcts
