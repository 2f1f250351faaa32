// DirectExchange: ranks of one host move bytes from one's memory into another's, in one copy. One of the two sides must
// lie in its process's HostMemory: the other one reads there, or writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/host_memory.h"
#include "comm/shared_window.h"

namespace shardcts {

struct Piece {
  char* begin = nullptr;
  int64_t bytes = 0;
};
using PiecesByRank = std::vector<std::vector<Piece>>;

class DirectExchange {
 public:
  // *Collective*. nullptr on all ranks, where one does not see another's HostMemory.
  static std::unique_ptr<DirectExchange> Open(Communicator& group);

  // *Collective*. sends[r] goes to rank r, receives[r] comes from there: as many pieces, each as long, as that rank says
  // of the same. A rank's pieces for itself are copied. False, on all ranks, when nothing was moved: some pieces are on
  // neither side in HostMemory, or there are too many of them. When a wait throws, what was to be moved must stay where
  // it is: peers may still be at it.
  // std::invalid_argument, on all ranks: two ranks speak of different pieces.
  bool Run(const PiecesByRank& sends, const PiecesByRank& receives, const WaitUntil& wait_until);

 private:
  // What a rank says of a piece. A negative offset: not in HostMemory.
  struct Entry {
    int64_t offset;
    int64_t bytes;
  };
  // At the begin of each rank's part of the window, which the system gives filled with zeros. Calls are counted.
  struct alignas(64) Head {
    std::atomic<int64_t> said;  // the entries of this call are there
    std::atomic<int64_t> done;  // this rank has moved all that it moves, and reads no entries of this call any more
    int64_t has_room;           // for all entries
  };
  // A rank's entries in the window: for each peer those of what it sends there, then for each what it receives.
  struct Lists;
  enum class Way { kNone, kPull, kPush, kImpossible };

  DirectExchange(std::unique_ptr<SharedWindow> window, std::vector<char*> memories, int rank)
      : window_(std::move(window)), memories_(std::move(memories)), rank_(rank) {}

  int size() const { return static_cast<int>(memories_.size()); }
  Head& HeadOf(int rank) const { return *reinterpret_cast<Head*>(window_->Part(rank)); }
  void Say(const PiecesByRank& sends, const PiecesByRank& receives);
  Lists ListsOf(int rank) const;
  Way WayBetween(const Lists& sender, int from, const Lists& receiver, int to) const;
  bool CanAllGo(const std::vector<Lists>& all) const;
  void Move(const std::vector<Lists>& all, const PiecesByRank& sends, const PiecesByRank& receives) const;

  std::unique_ptr<SharedWindow> window_;
  std::vector<char*> memories_;  // by rank
  int rank_;
  int64_t calls_ = 0;
};

}  // namespace shardcts
