// StagedExchange: the ranks of a group exchange bytes piece by piece through memory that they share.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "comm/local/group.h"

namespace shardcts {

using ByteSpan = std::span<const char>;

// The arguments of one rank.
struct StagedCall {
  std::string call;       // ranks whose calls differ are an error
  bool for_all = true;    // the same bytes for every rank; on all ranks the same
  std::vector<ByteSpan> to;  // one where `for_all`, else one for each rank; empty: nothing
  // By rank: how many bytes this one gets from there. Empty: it does not read them, or accepts any number.
  std::vector<int64_t> expected;
};

// What this rank gets in one step, by rank: bytes from `offset` on of that rank's for it, as far as it has any. They
// stay as they are until it returns.
using Consume = std::function<void(int64_t offset, std::span<const ByteSpan> from)>;

// Each rank has a few slots in the group's memory. A rank writes ahead as long as it has a slot that all peers have
// read, so that ranks which share a processor seldom wait for each other, and the peers read pieces that are still in
// the processor's cache. No rank ends a call before all have begun it.
class StagedExchange {
 public:
  explicit StagedExchange(LocalGroup& group);

  // *Collective*. CommunicationError, besides what a wait of the group ends with: the calls or sizes do not fit.
  void Run(const StagedCall& own, const Consume& consume);
  // *Collective*. Returns when all ranks have returned from `consume` of the last Run.
  void AwaitReaders() { group_.AwaitAll(&LocalGroup::Counters::read, next_piece_); }
  // *Local*. The most that goes in one step where it is the same for all.
  int64_t StepBytes() const { return data_bytes_; }

 private:
  struct Head;  // of a call's first piece

  void WriteHead(const StagedCall& own);
  void WriteData(const StagedCall& own, int64_t step);
  // The number of steps of this call.
  int64_t CheckHeads(const StagedCall& own);
  std::vector<ByteSpan> DataOfStep(const StagedCall& own, int64_t step) const;
  const Head& HeadOf(int rank) const;
  int64_t SizeFor(int from, int to, bool for_all) const;
  char* Data(int rank, int64_t step) const { return group_.Slot(rank, next_piece_ + step) + head_bytes_; }
  int64_t PartBytes(bool for_all) const { return for_all ? data_bytes_ : data_bytes_ / group_.size() / 64 * 64; }

  LocalGroup& group_;
  int64_t head_bytes_;
  int64_t data_bytes_;
  int64_t next_piece_ = 0;  // the first one of this call
  std::vector<int64_t> sizes_;  // of this call: from each rank to this one
};

}  // namespace shardcts
