// Communicator: the collectives that the harness and the reference implementation use, over one group of ranks.
//
// Every call here is *Collective* over the group unless marked *Local*. Tensors are contiguous and on device()
// (local, mpi, threads: CPU; nccl: the rank's GPU; staged: any other). Calls return when the result may be used. A call
// that cannot finish (peer died, deadline, abort) throws CommunicationError; the communicator is unusable afterwards.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace shardcts {

class CommunicationError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class ReduceOp { kSum, kAvg, kMin, kMax, kProduct };

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;         // Local. In this group
  virtual int size() const = 0;         // Local.
  virtual std::string backend() const = 0;  // Local. "local", "mpi", "nccl", "threads", "staged over …"
  virtual const std::vector<int64_t>& global_ranks() const = 0;  // Local. global_ranks()[rank()] is this process

  // `output` holds size() times the elements of `input`, in rank order.
  virtual void AllGatherInto(at::Tensor output, const at::Tensor& input) = 0;
  // `outputs[r]` is shaped as rank r's input; shapes may differ by rank, zero elements included.
  virtual void AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) = 0;
  // `input` holds size() chunks of `output`'s elements; rank r gets the reduction of all chunks r.
  virtual void ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) = 0;
  virtual void AllReduce(at::Tensor tensor, ReduceOp op) = 0;
  virtual void Broadcast(at::Tensor tensor, int root) = 0;
  // `outputs` is used on the root only (size() tensors); empty elsewhere.
  virtual void Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) = 0;
  // `inputs` is used on the root only (size() tensors); empty elsewhere.
  virtual void Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) = 0;
  // Point to point: the two named ranks call.
  virtual void Send(const at::Tensor& tensor, int to, int tag) = 0;
  virtual void Receive(at::Tensor tensor, int from, int tag) = 0;
  virtual void Barrier() = 0;

  // For each rank the tensors that go there, or come from there.
  using TensorsByRank = std::vector<std::vector<at::Tensor>>;
  // `sends[r]` goes to rank r, `receives[r]` comes from there; both ranks pass matching counts and sizes. False, on all
  // ranks: nothing was moved, since the backend has no way that is better than messages, or not for these tensors.
  // Worth the call from some 64 KiB on.
  virtual bool ExchangeDirectly(const TensorsByRank& sends, const TensorsByRank& receives) { return false; }
  // Local. For tensors that are to be gathered, broadcast or exchanged directly. nullptr: any memory will do.
  virtual c10::Allocator* DirectMemory() { return nullptr; }

  // Byte strings of any length, by rank.
  virtual std::vector<std::string> AllGatherBytes(const std::string& bytes) = 0;

  // Ranks with the same color form a new group, ordered by key, then rank; color < 0: no group, nullptr.
  virtual std::unique_ptr<Communicator> Split(int color, int key) = 0;

  // Local. Every wait that begins after this call throws CommunicationError past this point in time.
  virtual void SetDeadline(std::chrono::steady_clock::time_point deadline) = 0;
  // Local; may be called from another thread. Waits under way and to come, here and in groups split from
  // this one, throw CommunicationError with this reason.
  virtual void Abort(const std::string& reason) = 0;
  // Local. Waits of this group, and of groups split from it, call `poll` repeatedly; the first text that it
  // returns is the reason of an Abort. A backend that does not implement it ignores `poll`.
  virtual void AbortWhen(std::function<std::optional<std::string>()> poll) {}
  // Local. False once a call of this group, or of one split from it, has failed or was aborted.
  virtual bool usable() const { return true; }
  // Local. Where the tensors of all calls are; with an index, except on the CPU.
  virtual at::Device device() const { return at::kCPU; }
};

}  // namespace shardcts
