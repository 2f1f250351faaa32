// WindowAllGather: an all-gather among processes of one host through memory that all of them see.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "comm/shared_window.h"

namespace shardcts {

// A part goes in pieces through a few slots that each rank has in the window. A rank writes ahead as long as it has a
// slot that all peers have read, so that ranks which share a processor seldom wait for each other, and the peers read
// what still is in the processor's cache.
class WindowAllGather {
 public:
  // *Collective*. nullptr on all ranks, where SharedWindow::Open gives none.
  static std::unique_ptr<WindowAllGather> Open(Communicator& group);

  // *Collective*. `output` has a place for the `bytes` bytes of each rank, in rank order.
  void Run(const char* input, int64_t bytes, char* output, const WaitUntil& wait_until);

 private:
  // At the begin of each rank's part of the window, which the system gives filled with zeros. Pieces are counted
  // through all calls.
  struct alignas(64) Progress {
    std::atomic<int64_t> written;  // by this rank, into its slots
    std::atomic<int64_t> read;     // by this rank, of every peer
  };

  WindowAllGather(std::unique_ptr<SharedWindow> window, int rank, int size)
      : window_(std::move(window)), rank_(rank), size_(size) {}
  Progress& ProgressOf(int rank) const { return *reinterpret_cast<Progress*>(window_->Part(rank)); }
  char* Slot(int rank, int64_t piece) const;
  bool MayWrite(int64_t piece) const;

  std::unique_ptr<SharedWindow> window_;
  int rank_;
  int size_;
  int64_t done_ = 0;  // pieces of all calls before
};

}  // namespace shardcts
