// Peers: the processes of a local communicator's ranks, seen from one of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/local/shared_memory.h"

namespace shardcts {

// *Collective*. What every rank of a group gives, by rank.
using AllGatherText = std::function<std::vector<std::string>(const std::string& text)>;

// *Collective* over the ranks of `all_gather`. One rank, the `maker`, makes memory of `bytes` bytes, and those for which
// `opens` holds map it; nullptr for the others. CommunicationError, on all ranks, where one of them cannot.
std::unique_ptr<SharedMemory> MakeTogether(const AllGatherText& all_gather, int maker, bool is_maker, bool opens,
                                           int64_t bytes);

// Ranks here are those of the communicator over all ranks.
class Peers {
 public:
  // *Collective* over the ranks of `all_gather`. CommunicationError: one is on another host, in a container of its own or
  // has ended.
  static std::shared_ptr<Peers> Meet(const AllGatherText& all_gather);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // *Local*; one system call. Whether the rank's process has ended.
  bool HasEnded(int64_t rank) const;
  // *Local*. Where the rank's HostMemory begins in this process; nullptr, for all of them and on all ranks, where a rank
  // has none or does not see another's.
  char* HostMemoryOf(int64_t rank) const { return has_host_memory_ ? host_memories_[static_cast<size_t>(rank)]->begin() : nullptr; }
  bool has_host_memory() const { return has_host_memory_; }

 private:
  Peers() = default;

  std::vector<int> processes_;  // pidfds
  std::vector<std::unique_ptr<SharedMemory>> host_memories_;
  bool has_host_memory_ = false;
};

}  // namespace shardcts
