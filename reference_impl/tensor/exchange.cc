#include "tensor/exchange.h"

#include <ATen/ATen.h>

#include "tensor/copy_values.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

constexpr int kTag = 0;
constexpr int64_t kWorthADirectWay = 16 << 10;  // elements

// Each step pairs all ranks, possibly one of them with itself. All ranks take the steps in the same order, and the
// lower rank of a pair sends first, so there is never a cycle of ranks that wait for each other.
void ExchangeMessages(Communicator& group, const TensorsByRank& sends, const TensorsByRank& receives) {
  const int rank = group.rank();
  const auto send = [&](int peer) {
    for (const at::Tensor& tensor : sends[static_cast<size_t>(peer)]) {
      if (tensor.numel() > 0) group.Send(tensor, peer, kTag);
    }
  };
  const auto receive = [&](int peer) {
    for (const at::Tensor& tensor : receives[static_cast<size_t>(peer)]) {
      if (tensor.numel() > 0) group.Receive(tensor, peer, kTag);
    }
  };
  for (int step = 0; step < group.size(); ++step) {
    const int peer = (step - rank + group.size()) % group.size();
    if (peer == rank) {
      const auto self = static_cast<size_t>(rank);
      for (size_t i = 0; i < sends[self].size(); ++i) CopyValues(receives[self][i], sends[self][i]);
    } else if (rank < peer) {
      send(peer);
      receive(peer);
    } else {
      receive(peer);
      send(peer);
    }
  }
}

}  // namespace

bool IsWorthADirectWay(int64_t numel) { return numel >= kWorthADirectWay; }

void ExchangeTensors(Communicator& group, const TensorsByRank& sends, const TensorsByRank& receives, int64_t numel) {
  if (IsWorthADirectWay(numel) && group.ExchangeDirectly(sends, receives)) return;
  ExchangeMessages(group, sends, receives);
}

TensorsByRank RowsByRank(const at::Tensor& whole, int64_t ranks) {
  TensorsByRank rows;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const Range chunk = Chunk(whole.size(0), ranks, rank);
    rows.push_back({whole.narrow(0, chunk.begin, chunk.size())});
  }
  return rows;
}

at::Tensor GatherTo(Communicator& group, const at::Tensor& part, int root) {
  TensorsByRank sends(static_cast<size_t>(group.size()));
  TensorsByRank receives(sends.size());
  sends[static_cast<size_t>(root)] = {part};
  at::Tensor whole;
  if (group.rank() == root) {
    whole = at::empty({group.size() * part.numel()}, part.options());
    receives = RowsByRank(whole, group.size());
  }
  ExchangeTensors(group, sends, receives, (group.size() - 1) * part.numel());
  return whole;
}

}  // namespace shardcts::reference
