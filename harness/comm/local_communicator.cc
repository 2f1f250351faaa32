#include "comm/local_communicator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "comm/copy_bytes.h"
#include "comm/group_calls.h"
#include "comm/local/direct_exchange.h"
#include "comm/local/host_memory.h"
#include "comm/local/kept_tensors.h"
#include "comm/local/point_to_point.h"
#include "comm/local/staged_exchange.h"
#include "comm/reduction.h"
#include "comm/tensor_bytes.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;

// From this size on it pays to send peers the offset of a tensor, so that it is copied once.
constexpr int64_t kDirectBytes = 64 << 10;
// Up to this size every rank reduces everything: one exchange instead of two.
constexpr int64_t kReducedByAll = 32 << 10;

Piece PieceOf(const at::Tensor& tensor) {
  return {static_cast<char*>(tensor.mutable_data_ptr()), NumBytes(tensor)};
}

ByteSpan BytesOf(const Piece& piece) { return {piece.begin, static_cast<size_t>(piece.bytes)}; }
ByteSpan BytesOf(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), static_cast<size_t>(NumBytes(tensor))};
}

std::vector<Piece> PiecesOf(std::span<const at::Tensor> tensors) {
  std::vector<Piece> pieces;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.numel() > 0) pieces.push_back(PieceOf(tensor));
  }
  return pieces;
}

PiecesByRank PiecesOf(const Communicator::TensorsByRank& tensors) {
  PiecesByRank pieces;
  for (const std::vector<at::Tensor>& of_rank : tensors) pieces.push_back(PiecesOf(of_rank));
  return pieces;
}

// `tensor` in as many pieces as there are ranks, whose sizes differ by one element at most.
std::vector<Piece> PartsByRank(const at::Tensor& tensor, int size) {
  const Piece whole = PieceOf(tensor);
  const auto begin = [&](int64_t rank) { return tensor.numel() * rank / size * tensor.element_size(); };
  std::vector<Piece> parts;
  for (int64_t rank = 0; rank < size; ++rank) parts.push_back({whole.begin + begin(rank), begin(rank + 1) - begin(rank)});
  return parts;
}

std::string Described(const std::string& call, const at::Tensor& tensor) {
  return call + " of " + std::to_string(tensor.numel()) + " " + c10::toString(tensor.scalar_type());
}

std::string WithRoot(const std::string& call, int root) { return call + " with root " + std::to_string(root); }

// Puts what comes from each rank into its piece of `outputs`.
Consume CopyInto(const std::vector<Piece>& outputs) {
  return [&outputs](int64_t offset, std::span<const ByteSpan> from) {
    for (size_t r = 0; r < from.size(); ++r) {
      CopyBytes(outputs[r].begin + offset, from[r].data(), std::ssize(from[r]));
    }
  };
}

// Puts the reduction of what comes into `output`, of which the ranks may still give what is overwritten.
Consume ReduceInto(const Piece& output, at::ScalarType type, ReduceOp op) {
  return [=](int64_t offset, std::span<const ByteSpan> from) {
    if (from.front().empty()) return;
    const int64_t count = std::ssize(from.front()) / static_cast<int64_t>(c10::elementSize(type));
    std::vector<at::Tensor> parts;
    for (const ByteSpan bytes : from) parts.push_back(at::from_blob(const_cast<char*>(bytes.data()), {count}, type));
    const at::Tensor reduced = Reduce(parts, op);
    CopyBytes(output.begin + offset, static_cast<const char*>(reduced.const_data_ptr()), std::ssize(from.front()));
  };
}

class LocalCommunicator final : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<Peers> peers, std::vector<int64_t> global_ranks, int rank,
                    std::unique_ptr<SharedMemory> memory, std::shared_ptr<CallState> parent)
      : group_(std::move(peers), std::move(global_ranks), rank, std::move(memory), std::move(parent)) {}

  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  std::string backend() const override { return "local"; }
  const std::vector<int64_t>& global_ranks() const override { return group_.global_ranks(); }

  void AllGatherInto(at::Tensor output, const at::Tensor& input) override;
  void AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) override;
  void ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) override;
  void AllReduce(at::Tensor tensor, ReduceOp op) override;
  void Broadcast(at::Tensor tensor, int root) override;
  void Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) override;
  void Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) override;
  void Send(const at::Tensor& tensor, int to, int tag) override;
  void Receive(at::Tensor tensor, int from, int tag) override;
  void Barrier() override;
  bool ExchangeDirectly(const TensorsByRank& sends, const TensorsByRank& receives) override;
  c10::Allocator* DirectMemory() override {
    return group_.peers()->has_host_memory() ? HostMemory::OfThisProcess() : nullptr;
  }
  std::vector<std::string> AllGatherBytes(const std::string& bytes) override;
  std::unique_ptr<Communicator> Split(int color, int key) override;

  void SetDeadline(Clock::time_point deadline) override { group_.state()->SetDeadline(deadline); }
  void Abort(const std::string& reason) override { group_.state()->Abort(reason); }
  void AbortWhen(std::function<std::optional<std::string>()> poll) override {
    group_.state()->AbortWhen(std::move(poll));
  }
  bool usable() const override { return !group_.state()->failed(); }

 private:
  void CheckRoot(const std::string& call, int root) const;
  // All *Collective*, in a call that has begun.
  // False, on all ranks: nothing was moved. `tensors` hold what is moved.
  bool MoveDirectly(const std::string& call, const PiecesByRank& sends, const PiecesByRank& receives,
                    const std::vector<at::Tensor>& tensors);
  // `input` of rank r into `outputs[r]`. `tensors` hold both.
  void GatherAll(const std::string& call, const std::vector<Piece>& outputs, const Piece& input,
                 const std::vector<at::Tensor>& tensors);
  // `input` in as many pieces as there are ranks; `output` is the reduction of all ranks' pieces for this one.
  void ReduceParts(const std::string& call, const Piece& output, const std::vector<Piece>& input, at::ScalarType type,
                   ReduceOp op);

  LocalGroup group_;
  StagedExchange staged_{group_};
  DirectExchange direct_{group_, staged_};
  PointToPoint point_to_point_{group_};
};

void LocalCommunicator::CheckRoot(const std::string& call, int root) const {
  if (root < 0 || root >= size()) throw std::invalid_argument(call + ": no rank " + std::to_string(root));
}

bool LocalCommunicator::MoveDirectly(const std::string& call, const PiecesByRank& sends, const PiecesByRank& receives,
                                     const std::vector<at::Tensor>& tensors) {
  if (!group_.peers()->has_host_memory()) return false;
  try {
    return direct_.Run(call, sends, receives);
  } catch (const CommunicationError&) {
    KeepForever(tensors);
    throw;
  }
}

void LocalCommunicator::GatherAll(const std::string& call, const std::vector<Piece>& outputs, const Piece& input,
                                  const std::vector<at::Tensor>& tensors) {
  int64_t total = 0;
  for (const Piece& output : outputs) total += output.bytes;
  if (size() > 1 && total >= size() * kDirectBytes) {
    PiecesByRank sends(outputs.size());
    PiecesByRank receives(outputs.size());
    for (size_t r = 0; r < outputs.size(); ++r) {
      if (input.bytes > 0) sends[r] = {input};
      if (outputs[r].bytes > 0) receives[r] = {outputs[r]};
    }
    if (MoveDirectly(call, sends, receives, tensors)) return;
  }
  StagedCall own_call{.call = call, .to = {BytesOf(input)}};
  for (const Piece& output : outputs) own_call.expected.push_back(output.bytes);
  staged_.Run(own_call, CopyInto(outputs));
}

void LocalCommunicator::AllGatherInto(at::Tensor output, const at::Tensor& input) {
  CheckTensor(output, "all_gather output");
  CheckTensor(input, "all_gather input");
  CheckChunks(output, input, size(), "all_gather");
  group_.Begin("all_gather");
  GatherAll(Described("all_gather", input), PartsByRank(output, size()), PieceOf(input), {output, input});
}

void LocalCommunicator::AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) {
  CheckTensors(outputs, size(), "all_gather_v outputs");
  CheckTensor(input, "all_gather_v input");
  if (NumBytes(outputs[static_cast<size_t>(rank())]) != NumBytes(input)) {
    throw std::invalid_argument("all_gather_v: own output differs in size");
  }
  group_.Begin("all_gather_v");
  std::vector<Piece> pieces;
  for (const at::Tensor& output : outputs) pieces.push_back(PieceOf(output));
  std::vector<at::Tensor> tensors(outputs.begin(), outputs.end());
  tensors.push_back(input);
  GatherAll("all_gather_v", pieces, PieceOf(input), tensors);
}

void LocalCommunicator::ReduceParts(const std::string& call, const Piece& output, const std::vector<Piece>& input,
                                    at::ScalarType type, ReduceOp op) {
  StagedCall own_call{.call = call, .for_all = false};
  for (const Piece& part : input) own_call.to.push_back(BytesOf(part));
  own_call.expected.assign(input.size(), output.bytes);
  staged_.Run(own_call, ReduceInto(output, type, op));
}

void LocalCommunicator::ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) {
  CheckTensor(output, "reduce_scatter output");
  CheckTensor(input, "reduce_scatter input");
  CheckChunks(input, output, size(), "reduce_scatter");
  CheckReduction(output.scalar_type(), op);
  group_.Begin("reduce_scatter");
  ReduceParts(Described("reduce_scatter", output) + " by " + NameOf(op), PieceOf(output), PartsByRank(input, size()),
              output.scalar_type(), op);
}

void LocalCommunicator::AllReduce(at::Tensor tensor, ReduceOp op) {
  CheckTensor(tensor, "all_reduce tensor");
  CheckReduction(tensor.scalar_type(), op);
  group_.Begin("all_reduce");
  const std::string call = Described("all_reduce", tensor) + " by " + NameOf(op);
  if (NumBytes(tensor) <= kReducedByAll) {
    StagedCall own_call{.call = call, .to = {BytesOf(tensor)}};
    own_call.expected.assign(static_cast<size_t>(size()), NumBytes(tensor));
    return staged_.Run(own_call, ReduceInto(PieceOf(tensor), tensor.scalar_type(), op));
  }
  const std::vector<Piece> parts = PartsByRank(tensor, size());
  const Piece& own = parts[static_cast<size_t>(rank())];
  ReduceParts(call, own, parts, tensor.scalar_type(), op);
  GatherAll(call, parts, own, {tensor});
}

void LocalCommunicator::Broadcast(at::Tensor tensor, int root) {
  CheckTensor(tensor, "broadcast tensor");
  CheckRoot("broadcast", root);
  group_.Begin("broadcast");
  const std::string call = WithRoot("broadcast", root);
  const bool is_root = rank() == root;
  std::vector<Piece> outputs(static_cast<size_t>(size()));
  if (!is_root) outputs[static_cast<size_t>(root)] = PieceOf(tensor);
  if (size() > 1 && NumBytes(tensor) >= kDirectBytes) {
    PiecesByRank sends(outputs.size());
    PiecesByRank receives(outputs.size());
    for (int r = 0; is_root && r < size(); ++r) {
      if (r != root) sends[static_cast<size_t>(r)] = {PieceOf(tensor)};
    }
    if (!is_root) receives[static_cast<size_t>(root)] = {PieceOf(tensor)};
    if (MoveDirectly(call, sends, receives, {tensor})) return;
  }
  StagedCall own_call{.call = call};
  if (is_root) own_call.to = {BytesOf(tensor)};
  own_call.expected.assign(outputs.size(), 0);
  own_call.expected[static_cast<size_t>(root)] = NumBytes(tensor);
  if (is_root) return staged_.Run(own_call, [](int64_t, std::span<const ByteSpan>) {});
  staged_.Run(own_call, CopyInto(outputs));
}

void LocalCommunicator::Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) {
  CheckTensor(input, "gather input");
  CheckRoot("gather", root);
  CheckTensors(outputs, rank() == root ? size() : 0, "gather outputs");
  group_.Begin("gather");
  StagedCall own_call{.call = WithRoot("gather", root), .to = {BytesOf(input)}};
  std::vector<Piece> pieces;
  for (const at::Tensor& output : outputs) {
    pieces.push_back(PieceOf(output));
    own_call.expected.push_back(pieces.back().bytes);
  }
  if (rank() != root) return staged_.Run(own_call, [](int64_t, std::span<const ByteSpan>) {});
  staged_.Run(own_call, CopyInto(pieces));
}

void LocalCommunicator::Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) {
  CheckTensor(output, "scatter output");
  CheckRoot("scatter", root);
  CheckTensors(inputs, rank() == root ? size() : 0, "scatter inputs");
  group_.Begin("scatter");
  StagedCall own_call{.call = WithRoot("scatter", root), .for_all = false};
  for (const at::Tensor& input : inputs) own_call.to.push_back(BytesOf(input));
  own_call.expected.assign(static_cast<size_t>(size()), 0);
  own_call.expected[static_cast<size_t>(root)] = NumBytes(output);
  std::vector<Piece> outputs(static_cast<size_t>(size()));
  outputs[static_cast<size_t>(root)] = PieceOf(output);
  staged_.Run(own_call, CopyInto(outputs));
}

void LocalCommunicator::Send(const at::Tensor& tensor, int to, int tag) {
  CheckTensor(tensor, "send tensor");
  CheckRoot("send", to);
  group_.Begin("send");
  point_to_point_.Send(tensor, to, tag);
}

void LocalCommunicator::Receive(at::Tensor tensor, int from, int tag) {
  CheckTensor(tensor, "receive tensor");
  CheckRoot("receive", from);
  group_.Begin("receive");
  point_to_point_.Receive(tensor, from, tag);
}

void LocalCommunicator::Barrier() {
  group_.Begin("barrier");
  staged_.Run({.call = "barrier"}, [](int64_t, std::span<const ByteSpan>) {});
}

bool LocalCommunicator::ExchangeDirectly(const TensorsByRank& sends, const TensorsByRank& receives) {
  std::vector<at::Tensor> tensors;
  for (const TensorsByRank* lists : {&sends, &receives}) {
    if (lists->size() != static_cast<size_t>(size())) throw std::invalid_argument("exchange: one list for each rank");
    for (const std::vector<at::Tensor>& of_rank : *lists) {
      for (const at::Tensor& tensor : of_rank) CheckTensor(tensor, "exchange tensor");
      tensors.insert(tensors.end(), of_rank.begin(), of_rank.end());
    }
  }
  group_.Begin("exchange");
  return MoveDirectly("exchange", PiecesOf(sends), PiecesOf(receives), tensors);
}

std::vector<std::string> LocalCommunicator::AllGatherBytes(const std::string& bytes) {
  group_.Begin("all_gather_bytes");
  std::vector<std::string> result(static_cast<size_t>(size()));
  StagedCall own_call{.call = "all_gather_bytes", .to = {ByteSpan(bytes)}};
  staged_.Run(own_call, [&](int64_t, std::span<const ByteSpan> from) {
    for (size_t r = 0; r < from.size(); ++r) result[r].append(from[r].begin(), from[r].end());
  });
  return result;
}

std::unique_ptr<Communicator> LocalCommunicator::Split(int color, int key) {
  const std::vector<int64_t> members = MembersAfterSplit(*this, color, key, at::kCPU);
  const auto rank_in = [](const std::vector<int64_t>& ranks, int64_t global_rank) {
    return static_cast<int>(std::ranges::find(ranks, global_rank) - ranks.begin());
  };
  const int64_t own = global_ranks()[static_cast<size_t>(rank())];
  const int maker = members.empty() ? rank() : rank_in(global_ranks(), members.front());
  const auto all_gather = [this](const std::string& text) { return AllGatherBytes(text); };
  std::unique_ptr<SharedMemory> memory = MakeTogether(all_gather, maker, !members.empty() && members.front() == own,
                                                      !members.empty(), LocalGroup::BytesFor(std::ssize(members)));
  if (members.empty()) return nullptr;
  return std::make_unique<LocalCommunicator>(group_.peers(), members, rank_in(members, own), std::move(memory),
                                             group_.state());
}

}  // namespace

std::unique_ptr<Communicator> MakeLocalCommunicator(Rendezvous& rendezvous) {
  const auto all_gather = [&](const std::string& text) { return rendezvous.AllGather(text); };
  std::shared_ptr<Peers> peers = Peers::Meet(all_gather);
  std::unique_ptr<SharedMemory> memory =
      MakeTogether(all_gather, 0, rendezvous.rank() == 0, true, LocalGroup::BytesFor(rendezvous.size()));
  std::vector<int64_t> ranks(static_cast<size_t>(rendezvous.size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  return std::make_unique<LocalCommunicator>(std::move(peers), std::move(ranks), rendezvous.rank(), std::move(memory),
                                             nullptr);
}

}  // namespace shardcts
