// SharedWindow: memory that all ranks of a group see, where all are processes of one host.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "comm/bell.h"
#include "comm/communicator.h"

namespace shardcts {

// How whoever uses a window waits for its peers, which ring when they have written: returns when the condition holds, or
// throws; then the user is of no use any more.
using WaitUntil = std::function<void(Bell& bell, const std::function<bool()>& condition)>;

// *Collective*. Whether all ranks say yes.
bool AllSay(Communicator& group, bool yes);

class SharedWindow {
 public:
  // *Collective*. `bytes_per_rank` for each rank. nullptr, on all ranks, where a rank does not see the memory that the
  // first one made, because it is on another host or in a container of its own, or where there is not enough of it.
  // What was made ends with the last process that has it.
  static std::unique_ptr<SharedWindow> Open(Communicator& group, size_t bytes_per_rank);
  ~SharedWindow();
  SharedWindow(const SharedWindow&) = delete;
  SharedWindow& operator=(const SharedWindow&) = delete;

  // *Local*. Where a rank's part begins in this process. Who writes and who reads when, the callers agree on.
  char* Part(int rank) const { return begin_ + kBeforeParts + static_cast<size_t>(rank) * bytes_per_rank_; }
  // All ranks'.
  Bell& bell() const { return *reinterpret_cast<Bell*>(begin_); }

 private:
  static constexpr size_t kBeforeParts = 4096;  // for the bell

  SharedWindow(char* begin, size_t bytes_per_rank, size_t bytes)
      : begin_(begin), bytes_per_rank_(bytes_per_rank), bytes_(bytes) {}

  char* begin_;
  size_t bytes_per_rank_;
  size_t bytes_;
};

}  // namespace shardcts
