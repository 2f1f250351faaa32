// SharedMemoryCalls: calls among the ranks of one host that go through memory which they share.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/direct_exchange.h"
#include "comm/window_all_gather.h"

namespace shardcts {

// All *Collective*, with tensors as the communicator's own calls take them. False, on all ranks: nothing was moved, there
// is no such memory for these tensors. When a wait throws, the tensors must stay: peers may still be at them.
class SharedMemoryCalls {
 public:
  // `group` outlives it.
  explicit SharedMemoryCalls(Communicator& group) : group_(group) {}

  // From one tensor into the other where these lie in HostMemory, else through a window.
  bool AllGather(const at::Tensor& output, const at::Tensor& input, const WaitUntil& wait_until);
  bool Broadcast(const at::Tensor& tensor, int root, const WaitUntil& wait_until);
  bool Exchange(const Communicator::TensorsByRank& sends, const Communicator::TensorsByRank& receives,
                const WaitUntil& wait_until);

 private:
  bool Move(const PiecesByRank& sends, const PiecesByRank& receives, const WaitUntil& wait_until);

  Communicator& group_;
  bool has_tried_direct_ = false;
  std::unique_ptr<DirectExchange> direct_;
  bool has_tried_window_ = false;
  std::unique_ptr<WindowAllGather> window_;
};

}  // namespace shardcts
