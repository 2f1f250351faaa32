// LocalGroup: what the ranks of one local communicator share, and how one of them waits for the others. All *Local*.
// Several threads may have calls under way that use different counters and channels.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/call_state.h"
#include "comm/local/event.h"
#include "comm/local/peers.h"
#include "comm/local/shared_memory.h"

namespace shardcts {

class LocalGroup {
 public:
  // Of each rank, in shared memory. Pieces are counted through all calls of the group (staged_exchange.h).
  struct Counters {
    alignas(64) std::atomic<int64_t> written;  // pieces that this rank has written
    alignas(64) std::atomic<int64_t> read;     // pieces of every rank that this rank has read
  };

  static constexpr int64_t kSlots = 16;
  static constexpr int64_t kSlotBytes = 260 << 10;
  static constexpr int64_t kChannelBytes = 260 << 10;

  // The shared memory of a group of that size, which begins filled with zeros.
  static int64_t BytesFor(int size);

  LocalGroup(std::shared_ptr<Peers> peers, std::vector<int64_t> global_ranks, int rank,
             std::unique_ptr<SharedMemory> memory, std::shared_ptr<CallState> parent);
  LocalGroup(const LocalGroup&) = delete;
  LocalGroup& operator=(const LocalGroup&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(global_ranks_.size()); }
  const std::vector<int64_t>& global_ranks() const { return global_ranks_; }
  const std::shared_ptr<Peers>& peers() const { return peers_; }
  const std::shared_ptr<CallState>& state() const { return state_; }

  Counters& CountersOf(int rank) const;
  char* Slot(int rank, int64_t piece) const;
  char* ChannelMemory(int from, int to) const;
  // nullptr where peers() has no host memory.
  char* HostMemoryOf(int rank) const { return peers_->HostMemoryOf(global_ranks_[static_cast<size_t>(rank)]); }

  // Begins a call of this thread; what follows fails in its name. CommunicationError: an earlier call has failed, or an abort.
  void Begin(std::string operation);
  // Waits until `is_there(peer)` holds for every rank of the group, for which `event` is notified. CommunicationError,
  // and the group is unusable afterwards.
  void Await(Event& event, const std::function<bool(int peer)>& is_there);
  // Sets this rank's counter to `value`, and notifies the ranks that wait until every rank has reached it.
  void Advance(std::atomic<int64_t> Counters::*counter, int64_t value);
  // Until every rank's counter has reached `value`.
  void AwaitAll(std::atomic<int64_t> Counters::*counter, int64_t value);
  [[noreturn]] void Fail(const std::string& reason);

 private:
  // Of a peer whose process has ended without it; "" when there is none.
  std::string EndOfAPeer(const std::function<bool(int peer)>& is_there) const;
  Event& event() const { return *reinterpret_cast<Event*>(memory_->begin()); }

  std::shared_ptr<Peers> peers_;
  std::vector<int64_t> global_ranks_;
  int rank_;
  std::unique_ptr<SharedMemory> memory_;
  std::shared_ptr<CallState> state_;
  std::atomic<bool> failed_{false};
};

}  // namespace shardcts
