#include "comm/window_all_gather.h"

#include <algorithm>
#include <cstring>

namespace shardcts {
namespace {

constexpr int64_t kSlots = 16;
constexpr int64_t kPieceBytes = 256 << 10;
constexpr int64_t kHeadBytes = 4096;

static_assert(std::atomic<int64_t>::is_always_lock_free, "processes share these numbers");

}  // namespace

std::unique_ptr<WindowAllGather> WindowAllGather::Open(Communicator& group) {
  std::unique_ptr<SharedWindow> window = SharedWindow::Open(group, kHeadBytes + kSlots * kPieceBytes);
  if (!window) return nullptr;
  return std::unique_ptr<WindowAllGather>(new WindowAllGather(std::move(window), group.rank(), group.size()));
}

char* WindowAllGather::Slot(int rank, int64_t piece) const {
  return window_->Part(rank) + kHeadBytes + piece % kSlots * kPieceBytes;
}

// The piece that was in its slot has been read by all.
bool WindowAllGather::MayWrite(int64_t piece) const {
  for (int r = 0; r < size_; ++r) {
    if (ProgressOf(r).read.load(std::memory_order_acquire) <= piece - kSlots) return false;
  }
  return true;
}

void WindowAllGather::Run(const char* input, int64_t bytes, char* output, const WaitUntil& wait_until) {
  const int64_t begin = done_;
  const int64_t end = begin + (bytes + kPieceBytes - 1) / kPieceBytes;
  const auto offset = [&](int64_t piece) { return (piece - begin) * kPieceBytes; };
  const auto count = [&](int64_t piece) { return static_cast<size_t>(std::min(kPieceBytes, bytes - offset(piece))); };
  int64_t next = begin;  // to be written
  for (int64_t piece = begin; piece < end; ++piece) {
    // This one must be written before any wait for a peer, which may wait for it.
    if (next == piece) wait_until(window_->bell(), [&] { return MayWrite(next); });
    for (; next < end && MayWrite(next); ++next) {
      std::memcpy(Slot(rank_, next), input + offset(next), count(next));
      ProgressOf(rank_).written.store(next + 1, std::memory_order_release);
      window_->bell().Ring();
      std::memcpy(output + rank_ * bytes + offset(next), input + offset(next), count(next));
    }
    for (int step = 1; step < size_; ++step) {  // not all from the same one
      const int peer = (rank_ + step) % size_;
      wait_until(window_->bell(), [&] { return ProgressOf(peer).written.load(std::memory_order_acquire) > piece; });
      std::memcpy(output + peer * bytes + offset(piece), Slot(peer, piece), count(piece));
    }
    ProgressOf(rank_).read.store(piece + 1, std::memory_order_release);
    window_->bell().Ring();
  }
  done_ = end;
}

}  // namespace shardcts
