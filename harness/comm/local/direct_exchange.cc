#include "comm/local/direct_exchange.h"

#include <algorithm>
#include <stdexcept>

#include "comm/copy_bytes.h"
#include "comm/local/host_memory.h"

namespace shardcts {
namespace {

// Of those that are not empty.
template <class Entries>
int64_t CountOf(const std::vector<Entries>& lists) {
  return std::ranges::count_if(lists, [](const auto& list) { return !list.empty(); });
}

}  // namespace

std::vector<int64_t> DirectExchange::ToNumbers(const PiecesByRank& sends, const PiecesByRank& receives) const {
  const HostMemory& memory = *HostMemory::OfThisProcess();
  std::vector<int64_t> numbers;
  for (const PiecesByRank* lists : {&sends, &receives}) {
    for (const std::vector<Piece>& pieces : *lists) numbers.push_back(std::ssize(pieces));
  }
  for (const PiecesByRank* lists : {&sends, &receives}) {
    for (const std::vector<Piece>& pieces : *lists) {
      for (const Piece& piece : pieces) {
        numbers.push_back(memory.OffsetOf(piece.begin, piece.bytes).value_or(-1));
        numbers.push_back(piece.bytes);
      }
    }
  }
  return numbers;
}

DirectExchange::Lists DirectExchange::FromNumbers(ByteSpan bytes) const {
  const auto* counts = reinterpret_cast<const int64_t*>(bytes.data());
  const auto* entries = reinterpret_cast<const Entry*>(counts + 2 * size());
  Lists lists;
  for (auto* by_rank : {&lists.sends, &lists.receives}) {
    for (int peer = 0; peer < size(); ++peer) {
      const auto count = static_cast<size_t>(*counts++);
      by_rank->emplace_back(entries, count);
      entries += count;
    }
  }
  return lists;
}

// All ranks find the same. Where both sides could do it, the one that has fewer ranks to serve does, itself counted.
DirectExchange::Way DirectExchange::WayBetween(const Lists& sender, int from, const Lists& receiver, int to) const {
  const std::span<const Entry> sent = sender.sends[static_cast<size_t>(to)];
  const std::span<const Entry> received = receiver.receives[static_cast<size_t>(from)];
  const auto as_long = [](const Entry& a, const Entry& b) { return a.bytes == b.bytes; };
  if (!std::ranges::equal(sent, received, as_long)) {
    throw std::invalid_argument("exchange: rank " + std::to_string(from) + " sends rank " + std::to_string(to) +
                                " other pieces than that one receives");
  }
  if (sent.empty()) return Way::kNone;
  const auto is_shared = [](const Entry& entry) { return entry.offset >= 0; };
  const bool can_pull = std::ranges::all_of(sent, is_shared);
  const bool can_push = std::ranges::all_of(received, is_shared);
  if (can_pull && can_push) {
    return CountOf(receiver.receives) > CountOf(sender.sends) ? Way::kPush : Way::kPull;
  }
  return can_pull ? Way::kPull : can_push ? Way::kPush : Way::kImpossible;
}

bool DirectExchange::CanAllGo(const std::vector<Lists>& all) const {
  for (int from = 0; from < size(); ++from) {
    for (int to = 0; to < size(); ++to) {
      const Way way = WayBetween(all[static_cast<size_t>(from)], from, all[static_cast<size_t>(to)], to);
      if (way == Way::kImpossible && from != to) return false;
    }
  }
  return true;
}

void DirectExchange::Move(const std::vector<Lists>& all, const PiecesByRank& sends,
                          const PiecesByRank& receives) const {
  const int rank = group_.rank();
  const auto me = static_cast<size_t>(rank);
  for (size_t i = 0; i < sends[me].size(); ++i) {
    CopyBytes(receives[me][i].begin, sends[me][i].begin, sends[me][i].bytes);
  }
  for (int step = 1; step < size(); ++step) {  // not all with the same one
    const int peer = (rank + step) % size();
    const auto there = static_cast<size_t>(peer);
    if (WayBetween(all[there], peer, all[me], rank) == Way::kPull) {
      for (size_t i = 0; i < receives[there].size(); ++i) {
        const Entry& entry = all[there].sends[me][i];
        CopyBytes(receives[there][i].begin, group_.HostMemoryOf(peer) + entry.offset, entry.bytes);
      }
    }
    if (WayBetween(all[me], rank, all[there], peer) == Way::kPush) {
      for (size_t i = 0; i < sends[there].size(); ++i) {
        const Entry& entry = all[there].receives[me][i];
        CopyBytes(group_.HostMemoryOf(peer) + entry.offset, sends[there][i].begin, entry.bytes);
      }
    }
  }
}

bool DirectExchange::MoveIfPossible(std::span<const ByteSpan> numbers, const PiecesByRank& sends,
                                    const PiecesByRank& receives) const {
  std::vector<Lists> all;
  for (const ByteSpan of_rank : numbers) {
    if (of_rank.empty()) return false;  // it has too many
    all.push_back(FromNumbers(of_rank));
  }
  if (!CanAllGo(all)) return false;
  Move(all, sends, receives);
  return true;
}

bool DirectExchange::Run(const std::string& call, const PiecesByRank& sends, const PiecesByRank& receives) {
  const std::vector<int64_t> numbers = ToNumbers(sends, receives);
  const ByteSpan bytes(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(int64_t));
  StagedCall own_call{.call = call, .to = {bytes}};
  if (std::ssize(bytes) > staged_.StepBytes()) own_call.to.clear();
  bool moved = false;
  std::exception_ptr mistake;
  staged_.Run(own_call, [&](int64_t, std::span<const ByteSpan> from) {
    try {
      moved = MoveIfPossible(from, sends, receives);
    } catch (const std::invalid_argument&) {
      mistake = std::current_exception();
    }
  });
  staged_.AwaitReaders();
  if (mistake) std::rethrow_exception(mistake);
  return moved;
}

}  // namespace shardcts
