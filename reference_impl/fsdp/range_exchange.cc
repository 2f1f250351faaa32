#include "fsdp/range_exchange.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace shardcts::reference {
namespace {

constexpr int kTag = 0;

// A run that goes from one rank to another: out of the run `from` that the one has, into the run `to` that the other
// wants.
struct Move {
  size_t from = 0;
  size_t to = 0;
  FlatRange elements;
};

// Both ranks find the same moves in the same order.
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

// `elements` of the tensor that holds `whole`.
at::Tensor PartOf(const at::Tensor& tensor, const FlatRange& whole, const FlatRange& elements) {
  return tensor.narrow(0, elements.begin - whole.begin, elements.numel);
}

}  // namespace

void ExchangeRanges(Communicator& group, const RangesByRank& have, const RangesByRank& want,
                    std::span<const at::Tensor> from, std::span<const at::Tensor> to) {
  const int rank = group.rank();
  const auto source = [&](const Move& move) { return PartOf(from[move.from], have[rank][move.from], move.elements); };
  const auto target = [&](const Move& move) { return PartOf(to[move.to], want[rank][move.to], move.elements); };
  const auto send = [&](int peer) {
    for (const Move& move : MovesBetween(have[rank], want[peer])) group.Send(source(move), peer, kTag);
  };
  const auto receive = [&](int peer) {
    for (const Move& move : MovesBetween(have[peer], want[rank])) group.Receive(target(move), peer, kTag);
  };
  // Each step makes pairs of all ranks, one of them maybe with itself. All ranks take the steps in the same order, and
  // of a pair the lower one sends first: so there is never a circle of ranks that wait for each other.
  for (int step = 0; step < group.size(); ++step) {
    const int peer = (step - rank + group.size()) % group.size();
    if (peer == rank) {
      for (const Move& move : MovesBetween(have[rank], want[rank])) target(move).copy_(source(move));
    } else if (rank < peer) {
      send(peer);
      receive(peer);
    } else {
      receive(peer);
      send(peer);
    }
  }
}

}  // namespace shardcts::reference
