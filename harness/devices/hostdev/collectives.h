// "hostccl": the c10d backend of the emulated devices. Collectives run on a stream of their own and are late like all work
// of a stream; gloo carries the bytes, over copies on the CPU.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <functional>
#include <map>
#include <vector>

#include "devices/hostdev/streams.h"

namespace shardcts::hostdev {

// Whether groups can be split (SHARDCTS_HOSTDEV_SPLITTING=1); default no, as with several vendors' backends.
bool SplitsGroups();

// Those of every backend; PyTorch copies them when it splits a group.
struct HostCclOptions final : c10d::Backend::Options {
  explicit HostCclOptions(std::chrono::milliseconds timeout) : Options("hostccl", timeout) {}
};

class HostCcl final : public c10d::Backend {
 public:
  using Tensors = std::vector<at::Tensor>;

  // `carrier`: a backend for the CPU over the same ranks.
  HostCcl(int rank, int size, c10::intrusive_ptr<c10d::Backend> carrier);

  const std::string getBackendName() const override { return "hostccl"; }
  bool supportsSplitting() const override { return SplitsGroups(); }
  c10::intrusive_ptr<Options> getBackendOptions() override;
  c10::intrusive_ptr<c10d::Backend> split(const c10::intrusive_ptr<c10d::Store>& store, const std::vector<int>& ranks,
                                          const c10::intrusive_ptr<Options>& options) override;
  void abort() override { carrier_->abort(); }
  void shutdown() override { carrier_->shutdown(); }
  void setTimeout(std::chrono::milliseconds timeout) override { carrier_->setTimeout(timeout); }
  void setSequenceNumberForGroup() override { carrier_->setSequenceNumberForGroup(); }
  uint64_t getSequenceNumberForGroup() override { return carrier_->getSequenceNumberForGroup(); }

  c10::intrusive_ptr<c10d::Work> broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override;
  c10::intrusive_ptr<c10d::Work> allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override;
  c10::intrusive_ptr<c10d::Work> allreduce_coalesced(Tensors& tensors,
                                                     const c10d::AllreduceCoalescedOptions& options) override;
  c10::intrusive_ptr<c10d::Work> reduce(Tensors& tensors, const c10d::ReduceOptions& options) override;
  c10::intrusive_ptr<c10d::Work> allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                                           const c10d::AllgatherOptions& options) override;
  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor& output, at::Tensor& input,
                                                 const c10d::AllgatherOptions& options) override;
  c10::intrusive_ptr<c10d::Work> allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                                 const c10d::AllgatherOptions& options) override;
  c10::intrusive_ptr<c10d::Work> gather(std::vector<Tensors>& outputs, Tensors& inputs,
                                        const c10d::GatherOptions& options) override;
  c10::intrusive_ptr<c10d::Work> scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                         const c10d::ScatterOptions& options) override;
  c10::intrusive_ptr<c10d::Work> reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                                const c10d::ReduceScatterOptions& options) override;
  c10::intrusive_ptr<c10d::Work> _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                                      const c10d::ReduceScatterOptions& options) override;
  c10::intrusive_ptr<c10d::Work> reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                                 const c10d::ReduceScatterOptions& options) override;
  c10::intrusive_ptr<c10d::Work> alltoall_base(at::Tensor& output, at::Tensor& input,
                                               std::vector<int64_t>& output_sizes, std::vector<int64_t>& input_sizes,
                                               const c10d::AllToAllOptions& options) override;
  c10::intrusive_ptr<c10d::Work> alltoall(Tensors& outputs, Tensors& inputs,
                                          const c10d::AllToAllOptions& options) override;
  c10::intrusive_ptr<c10d::Work> send(Tensors& tensors, int target, int tag) override;
  c10::intrusive_ptr<c10d::Work> recv(Tensors& tensors, int source, int tag) override;
  c10::intrusive_ptr<c10d::Work> barrier(const c10d::BarrierOptions& options) override;

 private:
  // What the carrier does with copies on the CPU, the outputs' copies, and who gets what they hold.
  struct Job {
    c10d::OpType kind;
    std::vector<c10::intrusive_ptr<c10d::Work>> carried;
    Tensors outputs;   // on the device
    Tensors received;  // one for each output
    int64_t divisor = 1;
  };
  c10::intrusive_ptr<c10d::Work> Launch(Job job, c10::Device device);
  c10::Stream StreamFor(c10::Device device);

  c10::intrusive_ptr<c10d::Backend> carrier_;
  std::map<c10::DeviceIndex, c10::Stream> streams_;
};

}  // namespace shardcts::hostdev
