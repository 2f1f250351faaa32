// DirectExchange: moves bytes from the memory of one rank into that of another on the same host, with one copy. The
// bytes of one side must be in its process's HostMemory: the other side reads or writes them there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/local/staged_exchange.h"

namespace shardcts {

struct Piece {
  char* begin = nullptr;
  int64_t bytes = 0;
};
using PiecesByRank = std::vector<std::vector<Piece>>;

class DirectExchange {
 public:
  // `staged` is used to exchange the lists of pieces; both must outlive this object.
  DirectExchange(LocalGroup& group, StagedExchange& staged) : group_(group), staged_(staged) {}

  // *Collective*, in a call of the group, whose name is `call`. sends[r] goes to rank r, receives[r] comes from there:
  // as many pieces, each as long, as that rank names for the same. A rank's pieces for itself are copied. False, on all
  // ranks, when nothing was moved: some pieces are on neither side in HostMemory, or there are too many of them. When a
  // wait throws, what was to be moved must stay where it is: peers may still be reading or writing it.
  // std::invalid_argument, on all ranks: two ranks name different pieces.
  bool Run(const std::string& call, const PiecesByRank& sends, const PiecesByRank& receives);

 private:
  // The description of a piece. A negative offset: not in HostMemory.
  struct Entry {
    int64_t offset;
    int64_t bytes;
  };
  // A rank's entries: for each peer those of what it sends there, then for each what it receives.
  struct Lists {
    std::vector<std::span<const Entry>> sends;     // by rank
    std::vector<std::span<const Entry>> receives;  // by rank
  };
  enum class Way { kNone, kPull, kPush, kImpossible };

  int size() const { return group_.size(); }
  // Counts of each of 2 * size() lists, then the entries of all.
  std::vector<int64_t> ToNumbers(const PiecesByRank& sends, const PiecesByRank& receives) const;
  Lists FromNumbers(ByteSpan bytes) const;
  Way WayBetween(const Lists& sender, int from, const Lists& receiver, int to) const;
  bool CanAllGo(const std::vector<Lists>& all) const;
  void Move(const std::vector<Lists>& all, const PiecesByRank& sends, const PiecesByRank& receives) const;
  bool MoveIfPossible(std::span<const ByteSpan> numbers, const PiecesByRank& sends, const PiecesByRank& receives) const;

  LocalGroup& group_;
  StagedExchange& staged_;
};

}  // namespace shardcts
