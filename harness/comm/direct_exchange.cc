#include "comm/direct_exchange.h"

#include <algorithm>
#include <span>
#include <stdexcept>

#include "comm/copy_bytes.h"

namespace shardcts {
namespace {

constexpr size_t kPartBytes = 64 << 10;

static_assert(std::atomic<int64_t>::is_always_lock_free, "processes share these numbers");

int64_t CountOf(const PiecesByRank& pieces) {
  int64_t count = 0;
  for (const std::vector<Piece>& of_rank : pieces) count += static_cast<int64_t>(of_rank.size());
  return count;
}

}  // namespace

struct DirectExchange::Lists {
  std::vector<std::span<const Entry>> sends;     // by rank
  std::vector<std::span<const Entry>> receives;  // by rank

  static int64_t Count(const std::vector<std::span<const Entry>>& lists) {
    return std::ranges::count_if(lists, [](const auto& pieces) { return !pieces.empty(); });
  }
};

std::unique_ptr<DirectExchange> DirectExchange::Open(Communicator& group) {
  const HostMemory* mine = HostMemory::OfThisProcess();
  std::vector<char*> memories;
  bool sees_all = true;
  for (const std::string& ticket : group.AllGatherBytes(mine ? mine->Ticket() : "")) {
    memories.push_back(HostMemory::Find(ticket));
    sees_all &= memories.back() != nullptr;
  }
  if (!AllSay(group, sees_all)) return nullptr;
  std::unique_ptr<SharedWindow> window = SharedWindow::Open(group, kPartBytes);
  if (!window) return nullptr;
  return std::unique_ptr<DirectExchange>(new DirectExchange(std::move(window), std::move(memories), group.rank()));
}

// After the head: a count for each of 2 * size() lists, then the entries of all.
void DirectExchange::Say(const PiecesByRank& sends, const PiecesByRank& receives) {
  auto* counts = reinterpret_cast<int64_t*>(window_->Part(rank_) + sizeof(Head));
  auto* entries = reinterpret_cast<Entry*>(counts + 2 * size());
  const auto end = reinterpret_cast<uintptr_t>(entries + CountOf(sends) + CountOf(receives));
  HeadOf(rank_).has_room = end <= reinterpret_cast<uintptr_t>(window_->Part(rank_) + kPartBytes);
  if (!HeadOf(rank_).has_room) return;
  const HostMemory& memory = *HostMemory::OfThisProcess();
  for (const PiecesByRank* lists : {&sends, &receives}) {
    for (const std::vector<Piece>& pieces : *lists) {
      *counts++ = static_cast<int64_t>(pieces.size());
      for (const Piece& piece : pieces) {
        *entries++ = {memory.OffsetOf(piece.begin, piece.bytes).value_or(-1), piece.bytes};
      }
    }
  }
}

DirectExchange::Lists DirectExchange::ListsOf(int rank) const {
  const auto* counts = reinterpret_cast<const int64_t*>(window_->Part(rank) + sizeof(Head));
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
    return Lists::Count(receiver.receives) > Lists::Count(sender.sends) ? Way::kPush : Way::kPull;
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
  const auto me = static_cast<size_t>(rank_);
  for (size_t i = 0; i < sends[me].size(); ++i) {
    CopyBytes(receives[me][i].begin, sends[me][i].begin, sends[me][i].bytes);
  }
  for (int step = 1; step < size(); ++step) {  // not all with the same one
    const int peer = (rank_ + step) % size();
    const auto there = static_cast<size_t>(peer);
    if (WayBetween(all[there], peer, all[me], rank_) == Way::kPull) {
      for (size_t i = 0; i < receives[there].size(); ++i) {
        const Entry& entry = all[there].sends[me][i];
        CopyBytes(receives[there][i].begin, memories_[there] + entry.offset, entry.bytes);
      }
    }
    if (WayBetween(all[me], rank_, all[there], peer) == Way::kPush) {
      for (size_t i = 0; i < sends[there].size(); ++i) {
        const Entry& entry = all[there].receives[me][i];
        CopyBytes(memories_[there] + entry.offset, sends[there][i].begin, entry.bytes);
      }
    }
  }
}

bool DirectExchange::Run(const PiecesByRank& sends, const PiecesByRank& receives, const WaitUntil& wait_until) {
  ++calls_;
  const auto all_are_here = [&](std::atomic<int64_t> Head::*count) {
    for (int r = 0; r < size(); ++r) {
      if ((HeadOf(r).*count).load(std::memory_order_acquire) < calls_) return false;
    }
    return true;
  };
  Say(sends, receives);  // over the entries of the call before, which all ranks have done with
  HeadOf(rank_).said.store(calls_, std::memory_order_release);
  window_->bell().Ring();
  wait_until(window_->bell(), [&] { return all_are_here(&Head::said); });
  bool can_go = true;
  std::vector<Lists> all;
  for (int r = 0; r < size(); ++r) can_go &= HeadOf(r).has_room != 0;
  std::exception_ptr mistake;
  try {
    for (int r = 0; r < size() && can_go; ++r) all.push_back(ListsOf(r));
    can_go = can_go && CanAllGo(all);
    if (can_go) Move(all, sends, receives);
  } catch (const std::invalid_argument&) {
    mistake = std::current_exception();
  }
  HeadOf(rank_).done.store(calls_, std::memory_order_release);
  window_->bell().Ring();
  wait_until(window_->bell(), [&] { return all_are_here(&Head::done); });
  if (mistake) std::rethrow_exception(mistake);
  return can_go;
}

}  // namespace shardcts
