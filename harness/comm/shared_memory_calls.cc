#include "comm/shared_memory_calls.h"

#include <ATen/ATen.h>

#include "comm/tensor_bytes.h"

namespace shardcts {
namespace {

Piece PieceOf(const at::Tensor& tensor) {
  return {static_cast<char*>(tensor.mutable_data_ptr()), NumBytes(tensor)};
}

PiecesByRank PiecesOf(const Communicator::TensorsByRank& tensors) {
  PiecesByRank pieces(tensors.size());
  for (size_t r = 0; r < tensors.size(); ++r) {
    for (const at::Tensor& tensor : tensors[r]) {
      if (tensor.numel() > 0) pieces[r].push_back(PieceOf(tensor));
    }
  }
  return pieces;
}

}  // namespace

bool SharedMemoryCalls::Move(const PiecesByRank& sends, const PiecesByRank& receives, const WaitUntil& wait_until) {
  if (!has_tried_direct_) {
    direct_ = DirectExchange::Open(group_);
    has_tried_direct_ = true;
  }
  return direct_ && direct_->Run(sends, receives, wait_until);
}

bool SharedMemoryCalls::Exchange(const Communicator::TensorsByRank& sends, const Communicator::TensorsByRank& receives,
                                 const WaitUntil& wait_until) {
  return Move(PiecesOf(sends), PiecesOf(receives), wait_until);
}

bool SharedMemoryCalls::AllGather(const at::Tensor& output, const at::Tensor& input, const WaitUntil& wait_until) {
  const PiecesByRank sends(static_cast<size_t>(group_.size()), {PieceOf(input)});
  PiecesByRank receives;
  for (int r = 0; r < group_.size(); ++r) {
    receives.push_back({{PieceOf(output).begin + r * NumBytes(input), NumBytes(input)}});
  }
  if (Move(sends, receives, wait_until)) return true;
  if (!has_tried_window_) {
    window_ = WindowAllGather::Open(group_);
    has_tried_window_ = true;
  }
  if (!window_) return false;
  window_->Run(PieceOf(input).begin, NumBytes(input), PieceOf(output).begin, wait_until);
  return true;
}

bool SharedMemoryCalls::Broadcast(const at::Tensor& tensor, int root, const WaitUntil& wait_until) {
  PiecesByRank sends(static_cast<size_t>(group_.size()));
  PiecesByRank receives(sends.size());
  if (group_.rank() == root) {
    for (int r = 0; r < group_.size(); ++r) {
      if (r != root) sends[static_cast<size_t>(r)] = {PieceOf(tensor)};
    }
  } else {
    receives[static_cast<size_t>(root)] = {PieceOf(tensor)};
  }
  return Move(sends, receives, wait_until);
}

}  // namespace shardcts
