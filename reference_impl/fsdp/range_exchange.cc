#include "fsdp/range_exchange.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "tensor/exchange.h"

namespace shardcts::reference {
namespace {

// A range that is sent from one rank to another: part of the range `from` that the sender has, and of the range `to`
// that the receiver wants.
struct Move {
  size_t from = 0;
  size_t to = 0;
  FlatRange elements;
};

// Both ranks compute the same moves in the same order.
std::vector<Move> MovesBetween(const std::vector<FlatRange>& have, const std::vector<FlatRange>& want) {
  std::vector<Move> moves;
  for (size_t from = 0; from < have.size(); ++from) {
    for (size_t to = 0; to < want.size(); ++to) {
      const int64_t begin = std::max(have[from].begin, want[to].begin);
      const int64_t end = std::min(have[from].end(), want[to].end());
      if (begin < end) moves.push_back({from, to, {begin, end - begin}});
    }
  }
  return moves;
}

// The `elements` in a tensor that holds `whole`.
at::Tensor PartOf(const at::Tensor& tensor, const FlatRange& whole, const FlatRange& elements) {
  return tensor.narrow(0, elements.begin - whole.begin, elements.numel);
}

// From one rank to another.
int64_t NumelMoved(const RangesByRank& have, const RangesByRank& want) {
  int64_t numel = 0;
  for (size_t from = 0; from < have.size(); ++from) {
    for (size_t to = 0; to < want.size(); ++to) {
      if (from == to) continue;
      for (const Move& move : MovesBetween(have[from], want[to])) numel += move.elements.numel;
    }
  }
  return numel;
}

}  // namespace

void ExchangeRanges(Communicator& group, const RangesByRank& have, const RangesByRank& want,
                    std::span<const at::Tensor> from, std::span<const at::Tensor> to) {
  const auto size = static_cast<size_t>(group.size());
  const auto rank = static_cast<size_t>(group.rank());
  TensorsByRank sends(size);
  TensorsByRank receives(size);
  for (size_t peer = 0; peer < size; ++peer) {
    for (const Move& move : MovesBetween(have[rank], want[peer])) {
      sends[peer].push_back(PartOf(from[move.from], have[rank][move.from], move.elements));
    }
    for (const Move& move : MovesBetween(have[peer], want[rank])) {
      receives[peer].push_back(PartOf(to[move.to], want[rank][move.to], move.elements));
    }
  }
  ExchangeTensors(group, sends, receives, NumelMoved(have, want));
}

}  // namespace shardcts::reference
