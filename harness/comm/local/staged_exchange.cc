#include "comm/local/staged_exchange.h"

#include <algorithm>
#include <cstring>

namespace shardcts {
namespace {

constexpr size_t kCallBytes = 120;

int64_t RoundedUp(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

ByteSpan Part(ByteSpan bytes, int64_t offset, int64_t count) {
  const int64_t size = std::ssize(bytes);
  if (offset >= size) return {};
  return bytes.subspan(static_cast<size_t>(offset), static_cast<size_t>(std::min(count, size - offset)));
}

ByteSpan BytesFor(const StagedCall& own, int rank) {
  if (own.to.empty()) return {};
  return own.to[own.for_all ? 0 : static_cast<size_t>(rank)];
}

}  // namespace

struct StagedExchange::Head {
  char call[kCallBytes];  // ends with a zero
  int64_t most;           // the largest of `sizes`
  int64_t sizes[];        // by rank: what goes there
};

StagedExchange::StagedExchange(LocalGroup& group)
    : group_(group),
      head_bytes_(RoundedUp(static_cast<int64_t>(sizeof(Head)) + group.size() * int64_t{sizeof(int64_t)}, 64)),
      data_bytes_((LocalGroup::kSlotBytes - head_bytes_) / 64 * 64) {}

const StagedExchange::Head& StagedExchange::HeadOf(int rank) const {
  return *reinterpret_cast<const Head*>(group_.Slot(rank, next_piece_));
}

void StagedExchange::WriteHead(const StagedCall& own) {
  Head& head = *reinterpret_cast<Head*>(group_.Slot(group_.rank(), next_piece_));
  const size_t length = std::min(own.call.size(), kCallBytes - 1);
  std::memcpy(head.call, own.call.data(), length);
  head.call[length] = '\0';
  head.most = 0;
  for (int peer = 0; peer < group_.size(); ++peer) {
    head.sizes[peer] = std::ssize(BytesFor(own, peer));
    head.most = std::max(head.most, head.sizes[peer]);
  }
}

void StagedExchange::WriteData(const StagedCall& own, int64_t step) {
  const int64_t part_bytes = PartBytes(own.for_all);
  char* to = Data(group_.rank(), step);
  for (int peer = 0; peer < group_.size(); ++peer, to += part_bytes) {
    if (peer == group_.rank() && !own.for_all) continue;  // it has them
    const ByteSpan part = Part(BytesFor(own, peer), step * part_bytes, part_bytes);
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    if (own.for_all) return;
  }
}

int64_t StagedExchange::CheckHeads(const StagedCall& own) {
  const std::string own_call = HeadOf(group_.rank()).call;
  int64_t most = 0;
  sizes_.clear();
  for (int peer = 0; peer < group_.size(); ++peer) {
    const Head& head = HeadOf(peer);
    const std::string who = "rank " + std::to_string(group_.global_ranks()[static_cast<size_t>(peer)]);
    if (head.call != own_call) group_.Fail("called " + own_call + ", but " + who + " calls " + head.call);
    most = std::max(most, head.most);
    sizes_.push_back(head.sizes[group_.rank()]);
    if (own.expected.empty()) continue;
    const int64_t expected = own.expected[static_cast<size_t>(peer)];
    if (expected != sizes_.back()) {
      group_.Fail("got " + std::to_string(sizes_.back()) + " bytes of " + who + " for a tensor of " +
                  std::to_string(expected));
    }
  }
  const int64_t part_bytes = PartBytes(own.for_all);
  return std::max<int64_t>(1, (most + part_bytes - 1) / part_bytes);
}

std::vector<ByteSpan> StagedExchange::DataOfStep(const StagedCall& own, int64_t step) const {
  const int64_t part_bytes = PartBytes(own.for_all);
  const int64_t offset = step * part_bytes;
  std::vector<ByteSpan> data;
  for (int peer = 0; peer < group_.size(); ++peer) {
    if (peer == group_.rank()) {
      data.push_back(Part(BytesFor(own, peer), offset, part_bytes));
      continue;
    }
    const char* begin = Data(peer, step) + (own.for_all ? 0 : group_.rank() * part_bytes);
    const int64_t count = std::clamp<int64_t>(sizes_[static_cast<size_t>(peer)] - offset, 0, part_bytes);
    data.emplace_back(begin, static_cast<size_t>(count));
  }
  return data;
}

void StagedExchange::Run(const StagedCall& own, const Consume& consume) {
  using Counters = LocalGroup::Counters;
  const bool has_peers = group_.size() > 1;
  const auto may_write = [&](int64_t step) {
    for (int peer = 0; peer < group_.size(); ++peer) {
      if (group_.CountersOf(peer).read.load() <= next_piece_ + step - LocalGroup::kSlots) return false;
    }
    return true;
  };
  int64_t written = 0;
  const auto write = [&] {
    if (has_peers) WriteData(own, written);
    ++written;
    group_.Advance(&Counters::written, next_piece_ + written);
  };
  group_.AwaitAll(&Counters::read, next_piece_ + 1 - LocalGroup::kSlots);
  WriteHead(own);
  write();
  group_.AwaitAll(&Counters::written, next_piece_ + 1);
  const int64_t steps = CheckHeads(own);
  for (int64_t step = 0; step < steps; ++step) {
    if (written == step) group_.AwaitAll(&Counters::read, next_piece_ + step + 1 - LocalGroup::kSlots);
    while (written < steps && may_write(written)) write();
    if (step > 0) group_.AwaitAll(&Counters::written, next_piece_ + step + 1);
    consume(step * PartBytes(own.for_all), DataOfStep(own, step));
    group_.Advance(&Counters::read, next_piece_ + step + 1);
  }
  next_piece_ += steps;
}

}  // namespace shardcts
