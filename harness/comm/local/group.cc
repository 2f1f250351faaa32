#include "comm/local/group.h"

#include <algorithm>
#include <chrono>

#include "comm/communicator.h"
#include "comm/group_calls.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;

static_assert(std::atomic<int64_t>::is_always_lock_free, "processes share these numbers");

// How long a wait keeps the processor. Peers go on without being polled, and may need it.
constexpr microseconds kBusy{20};
// How long a wait sleeps before it looks at abort and deadline again, when no peer wakes it.
constexpr milliseconds kShortestSleep{1};
constexpr milliseconds kLongestSleep{10};
constexpr milliseconds kBetweenLooksAtProcesses{5};

constexpr int64_t kPage = SharedMemory::kPageBytes;
static_assert(sizeof(LocalGroup::Counters) <= kPage && LocalGroup::kSlotBytes % kPage == 0 &&
              LocalGroup::kChannelBytes % kPage == 0);

// The event, then each rank's counters and slots, then the channels.
constexpr int64_t kRankBytes = kPage + LocalGroup::kSlots * LocalGroup::kSlotBytes;

// The call that this thread has begun last.
thread_local std::string operation_of_this_thread;

}  // namespace

int64_t LocalGroup::BytesFor(int size) { return kPage + size * kRankBytes + size * size * kChannelBytes; }

LocalGroup::LocalGroup(std::shared_ptr<Peers> peers, std::vector<int64_t> global_ranks, int rank,
                       std::unique_ptr<SharedMemory> memory, std::shared_ptr<CallState> parent)
    : peers_(std::move(peers)),
      global_ranks_(std::move(global_ranks)),
      rank_(rank),
      memory_(std::move(memory)),
      state_(std::make_shared<CallState>(std::move(parent))) {}

LocalGroup::Counters& LocalGroup::CountersOf(int rank) const {
  return *reinterpret_cast<Counters*>(memory_->begin() + kPage + rank * kRankBytes);
}

char* LocalGroup::Slot(int rank, int64_t piece) const {
  return memory_->begin() + kPage + rank * kRankBytes + kPage + piece % kSlots * kSlotBytes;
}

char* LocalGroup::ChannelMemory(int from, int to) const {
  return memory_->begin() + kPage + size() * kRankBytes + (from * size() + to) * kChannelBytes;
}

void LocalGroup::Begin(std::string operation) {
  operation_of_this_thread = std::move(operation);
  if (auto reason = state_->AbortReason()) Fail("aborted: " + *reason);
  if (failed_) Fail("an earlier call of this communicator has failed");
}

void LocalGroup::Fail(const std::string& reason) {
  failed_ = true;
  state_->NoteFailure();
  throw CommunicationError(FailureText("local", operation_of_this_thread, global_ranks_, rank_, reason));
}

std::string LocalGroup::EndOfAPeer(const std::function<bool(int peer)>& is_there) const {
  for (int peer = 0; peer < size(); ++peer) {
    const int64_t global_rank = global_ranks_[static_cast<size_t>(peer)];
    if (is_there(peer) || !peers_->HasEnded(global_rank)) continue;
    if (!is_there(peer)) return "rank " + std::to_string(global_rank) + " has ended";  // else it came before it ended
  }
  return "";
}

void LocalGroup::Await(Event& event, const std::function<bool(int peer)>& is_there) {
  const auto all_are_there = [&] {
    for (int peer = 0; peer < size(); ++peer) {
      if (!is_there(peer)) return false;
    }
    return true;
  };
  if (all_are_there()) return;
  uint32_t count = 0;
  bool has_slept = false;
  const Clock::time_point start = Clock::now();
  Clock::time_point next_look = start;
  const auto poll = [&](std::string& problem) {
    count = event.Count();
    if (all_are_there()) return true;
    if (has_slept && Clock::now() >= next_look) {
      problem = EndOfAPeer(is_there);
      next_look = Clock::now() + kBetweenLooksAtProcesses;
    }
    return false;
  };
  const auto sleep = [&] {
    const auto waited = std::chrono::duration_cast<milliseconds>(Clock::now() - start);
    event.Wait(count, std::clamp(waited / 8, kShortestSleep, kLongestSleep));
    has_slept = true;
  };
  if (const auto reason = WaitFor(*state_, poll, kBusy, sleep)) Fail(*reason);
}

// Who comes last notifies, and of those that come at the same time at least one sees all others.
void LocalGroup::Advance(std::atomic<int64_t> Counters::*counter, int64_t value) {
  std::atomic<int64_t>& own = CountersOf(rank_).*counter;
  const int64_t before = own.load(std::memory_order_relaxed);
  own.store(value);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank_ && (CountersOf(peer).*counter).load() <= before) return;
  }
  event().Notify();
}

void LocalGroup::AwaitAll(std::atomic<int64_t> Counters::*counter, int64_t value) {
  Await(event(), [&](int peer) { return (CountersOf(peer).*counter).load() >= value; });
}

}  // namespace shardcts
