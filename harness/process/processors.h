// The processors of this host, divided between pools that run at the same time: ranks of one pool wake each other all
// the time, which is cheap on their own processors and expensive across those of another pool. *Local*.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace shardcts {

using Processors = std::vector<int>;  // by number, in ascending order

// Those that the calling thread may run on; empty when the system does not report them.
Processors AllowedProcessors();

// From now on the process's threads, and those that they start, run on these alone. What cannot be bound, because it
// has ended or belongs to another user, stays as it is.
void BindProcess(pid_t process, const Processors& processors);

// Thread-safe.
class ProcessorShares {
 public:
  explicit ProcessorShares(Processors all) : all_(std::move(all)) {}

  // One user of the processors, as long as the object exists.
  class Share {
   public:
    explicit Share(ProcessorShares& shares);
    ~Share();
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // An equal part for each that shares now, none of them twice. All when there are fewer than one for each.
    Processors Now() const;

   private:
    ProcessorShares& shares_;
    size_t place_;
  };

 private:
  const Processors all_;
  std::mutex mutex_;
  std::set<size_t> taken_;  // slots
};

}  // namespace shardcts
