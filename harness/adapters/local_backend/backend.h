// "local": a c10d backend over the harness's communicator for ranks of one host, so that PyTorch runs without gloo's threads
// and sockets. It can be late, fail and abort on command. Verdicts on PyTorch are made with gloo.
//
// Without a command a collective is done when its call returns, and messages (send, recv) are under way in threads, one for
// each peer and direction: messages from one peer arrive in the order in which they are asked for. Tensors of a device
// travel over host memory, so ranks can share one. What c10d has only for gloo or NCCL (monitored barriers, receiving from
// any rank) is not here.
//
// Environment; N counts the calls of all groups of this process, from 1:
//   SHARDCTS_LOCAL_LATE=SEED    calls are done by a thread of the group, after a delay that the seed and the rank decide
//                               (comm/transport_delay.h); until then outputs hold the poison pattern (NaN, -1), and
//                               inputs are not read yet, unless they share memory with an output
//   SHARDCTS_LOCAL_FAIL=RANK:N  the Nth call of that rank of the first group fails when it is waited for
//   SHARDCTS_LOCAL_ABORT=RANK:N the Nth call of that rank aborts its group
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "adapters/local_backend/task_thread.h"
#include "comm/communicator.h"

namespace shardcts::local_backend {

class LocalBackend final : public c10d::Backend {
 public:
  using Tensors = std::vector<at::Tensor>;
  using WorkPtr = c10::intrusive_ptr<c10d::Work>;

  // *Collective* over the group (group_rendezvous.h). `global_ranks` is empty for the group of all ranks.
  LocalBackend(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, std::vector<int64_t> global_ranks,
               std::chrono::milliseconds timeout);
  ~LocalBackend() override;

  const std::string getBackendName() const override { return "local"; }
  c10::intrusive_ptr<Options> getBackendOptions() override;
  // For a backend that carries its groups over this one: PyTorch itself is told that groups cannot be split.
  c10::intrusive_ptr<c10d::Backend> split(const c10::intrusive_ptr<c10d::Store>& store, const std::vector<int>& ranks,
                                          const c10::intrusive_ptr<Options>& options) override;
  void abort() override;
  void shutdown() override;
  void setTimeout(std::chrono::milliseconds timeout) override { timeout_ = timeout; }
  void setSequenceNumberForGroup() override {}
  uint64_t getSequenceNumberForGroup() override { return calls_; }

  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override;
  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override;
  WorkPtr allreduce_coalesced(Tensors& tensors, const c10d::AllreduceCoalescedOptions& options) override;
  WorkPtr reduce(Tensors& tensors, const c10d::ReduceOptions& options) override;
  WorkPtr allgather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::AllgatherOptions& options) override;
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& options) override;
  WorkPtr allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::AllgatherOptions& options) override;
  WorkPtr gather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::GatherOptions& options) override;
  WorkPtr scatter(Tensors& outputs, std::vector<Tensors>& inputs, const c10d::ScatterOptions& options) override;
  WorkPtr reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                         const c10d::ReduceScatterOptions& options) override;
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                               const c10d::ReduceScatterOptions& options) override;
  WorkPtr reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::ReduceScatterOptions& options) override;
  WorkPtr alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>& output_sizes,
                        std::vector<int64_t>& input_sizes, const c10d::AllToAllOptions& options) override;
  WorkPtr alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& options) override;
  WorkPtr send(Tensors& tensors, int target, int tag) override;
  WorkPtr recv(Tensors& tensors, int source, int tag) override;
  WorkPtr barrier(const c10d::BarrierOptions& options) override;

 private:
  using Lane = std::pair<int, bool>;  // the peer of messages, and whether they go there
  // A call: what it reads and writes (one tensor may be both), and what does it, with tensors that are contiguous and on the
  // CPU.
  struct Job {
    c10d::OpType kind;
    Tensors reads;
    Tensors writes;
    std::function<void(Communicator& group, const Tensors& reads, Tensors& writes)> call;
    std::optional<Lane> lane = std::nullopt;
  };
  WorkPtr Run(Job job);
  void Do(const Job& job, const Tensors& reads, bool is_late);
  static Tensors ReadsOf(const Job& job, bool is_late);
  // nullptr: this one.
  TaskThread* ThreadFor(const Job& job, bool is_late);

  std::unique_ptr<Communicator> group_;
  std::vector<int64_t> global_ranks_;
  std::atomic<std::chrono::milliseconds> timeout_;
  std::atomic<uint64_t> calls_{0};
  std::map<Lane, std::unique_ptr<TaskThread>> lanes_;
  std::unique_ptr<TaskThread> late_;  // nullptr: nothing was late yet
};

}  // namespace shardcts::local_backend
