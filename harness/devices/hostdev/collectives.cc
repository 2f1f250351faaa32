#include "devices/hostdev/collectives.h"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

#include "devices/hostdev/device_code.h"
#include "devices/hostdev/device_copy.h"

namespace shardcts::hostdev {
namespace {

using Tensors = HostCcl::Tensors;

// A collective on a stream: waiting for it makes the current stream wait, as with NCCL; the host goes on.
class StreamWork final : public c10d::Work {
 public:
  StreamWork(int rank, c10d::OpType kind, const c10::Stream& stream, Tensors outputs)
      : Work(rank, kind), mark_(MarkNow(stream)), outputs_(std::move(outputs)) {
    future_ = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()),
                                                       std::vector<c10::Device>{stream.device()});
    const c10::Stream before = ExchangeStream(stream);
    future_->markCompleted(c10::IValue(outputs_));
    ExchangeStream(before);
  }

  bool isCompleted() override {
    if (IsReached(mark_)) return true;
    FinishUntil(mark_);
    return false;
  }
  bool isSuccess() const override { return true; }
  bool wait(std::chrono::milliseconds) override {
    synchronize();
    return true;
  }
  void synchronize() override { LetWait(CurrentStream(mark_.device), mark_); }
  void blockCurrentStream() override { synchronize(); }
  std::vector<at::Tensor> result() override { return outputs_; }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override { return future_; }

 private:
  Mark mark_;
  Tensors outputs_;
  c10::intrusive_ptr<c10::ivalue::Future> future_;
};

c10::Device DeviceOfAll(const Tensors& tensors) {
  TORCH_CHECK(!tensors.empty(), "hostccl: no tensors");
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(tensor.is_privateuseone(), "hostccl: a tensor on ", tensor.device(), ", not on a hostdev device");
    TORCH_CHECK(tensor.device() == tensors.front().device(), "hostccl: tensors on several devices");
  }
  return tensors.front().device();
}

Tensors Copies(const Tensors& tensors) {
  Tensors copies;
  copies.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) copies.push_back(Snapshot(tensor));
  return copies;
}

std::vector<c10::Storage> Storages(const Tensors& tensors) {
  std::vector<c10::Storage> storages;
  for (const at::Tensor& tensor : tensors) storages.push_back(tensor.storage());
  return storages;
}

Tensors Flat(const std::vector<Tensors>& lists) {
  Tensors flat;
  for (const Tensors& list : lists) flat.insert(flat.end(), list.begin(), list.end());
  return flat;
}

std::vector<Tensors> Copies(const std::vector<Tensors>& lists) {
  std::vector<Tensors> copies;
  for (const Tensors& list : lists) copies.push_back(Copies(list));
  return copies;
}

// Gloo has no average: it sums, and what was received is divided.
template <class Options>
int64_t SumInPlaceOfAverage(Options& options, int size) {
  if (options.reduceOp != c10d::ReduceOp::AVG) return 1;
  options.reduceOp = c10d::ReduceOp::SUM;
  return size;
}

void Divide(const at::Tensor& tensor, int64_t divisor) {
  if (divisor != 1) tensor.div_(divisor, tensor.is_floating_point() ? std::nullopt : std::optional<std::string_view>("trunc"));
}

// SHARDCTS_HOSTDEV_FAIL=RANK:N: the Nth collective of that rank of the first group fails when it is waited for.
class FailureOnCommand {
 public:
  explicit FailureOnCommand(int rank) {
    const char* text = std::getenv("SHARDCTS_HOSTDEV_FAIL");
    if (text == nullptr || *text == '\0') return;
    const std::string value = text;
    const size_t colon = value.find(':');
    TORCH_CHECK(colon != std::string::npos, "SHARDCTS_HOSTDEV_FAIL=", value, ": not RANK:N");
    if (std::stoi(value.substr(0, colon)) == rank) left_ = std::stol(value.substr(colon + 1));
  }
  bool Next() { return left_ > 0 && --left_ == 0; }

 private:
  std::atomic<int64_t> left_{0};
};

FailureOnCommand& Failure(int rank) {
  static FailureOnCommand* failure = new FailureOnCommand(rank);
  return *failure;
}

}  // namespace

bool SplitsGroups() {
  const char* text = std::getenv("SHARDCTS_HOSTDEV_SPLITTING");
  return text != nullptr && std::string_view(text) == "1";
}

HostCcl::HostCcl(int rank, int size, c10::intrusive_ptr<c10d::Backend> carrier)
    : Backend(rank, size), carrier_(std::move(carrier)) {
  Failure(rank);
  SeedForRank(rank);
}

c10::intrusive_ptr<c10d::Backend::Options> HostCcl::getBackendOptions() {
  return c10::make_intrusive<HostCclOptions>(carrier_->getBackendOptions()->timeout);
}

c10::intrusive_ptr<c10d::Backend> HostCcl::split(const c10::intrusive_ptr<c10d::Store>& store,
                                                 const std::vector<int>& ranks, const c10::intrusive_ptr<Options>&) {
  TORCH_CHECK(SplitsGroups(), "hostccl does not split groups");
  c10::intrusive_ptr<c10d::Backend> carrier = carrier_->split(store, ranks, carrier_->getBackendOptions());
  if (!carrier) return {};
  return c10::make_intrusive<HostCcl>(carrier->getRank(), carrier->getSize(), carrier);
}

c10::Stream HostCcl::StreamFor(c10::Device device) {
  const auto found = streams_.find(device.index());
  return found != streams_.end() ? found->second : streams_.emplace(device.index(), NewStream(device.index())).first->second;
}

c10::intrusive_ptr<c10d::Work> HostCcl::Launch(Job job, c10::Device device) {
  const c10::Stream stream = StreamFor(device);
  Finish(CurrentStream(device.index()));
  const bool late = NextIsLate();
  Tensors memory;  // where the outputs are now: their tensors may be given other memory
  for (const at::Tensor& output : job.outputs) {
    memory.push_back(AliasOf(output));
    if (late) Poison(memory.back());
  }
  const bool fails = Failure(getRank()).Next();
  const c10d::OpType kind = job.kind;
  const Tensors outputs = job.outputs;
  const auto is_ready = [carried = job.carried] {
    return std::ranges::all_of(carried, [](const auto& one) { return one->isCompleted(); });
  };
  // The task holds the outputs' memory: it is not freed under a collective that nobody waits for.
  Submit(stream, [job = std::move(job), memory, storages = Storages(outputs), fails] {
    for (const auto& carried : job.carried) carried->wait();
    TORCH_CHECK(!fails, "hostccl: this collective fails on command (SHARDCTS_HOSTDEV_FAIL)");
    for (size_t i = 0; i < memory.size(); ++i) {
      Divide(job.received[i], job.divisor);
      memory[i].copy_(job.received[i].view_as(memory[i]));
    }
  }, late, is_ready);
  return c10::make_intrusive<StreamWork>(getRank(), kind, stream, outputs);
}

c10::intrusive_ptr<c10d::Work> HostCcl::broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(tensors);
  Tensors copies = Copies(tensors);
  return Launch({c10d::OpType::BROADCAST, {carrier_->broadcast(copies, options)}, tensors, copies}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(tensors);
  Tensors copies = Copies(tensors);
  c10d::AllreduceOptions sum = options;
  const int64_t divisor = SumInPlaceOfAverage(sum, getSize());
  return Launch({c10d::OpType::ALLREDUCE, {carrier_->allreduce(copies, sum)}, tensors, copies, divisor}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::allreduce_coalesced(Tensors& tensors,
                                                            const c10d::AllreduceCoalescedOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(tensors);
  Tensors copies = Copies(tensors);
  c10d::AllreduceCoalescedOptions sum = options;
  const int64_t divisor = SumInPlaceOfAverage(sum, getSize());
  return Launch({c10d::OpType::ALLREDUCE_COALESCED, {carrier_->allreduce_coalesced(copies, sum)}, tensors, copies, divisor},
                device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::reduce(Tensors& tensors, const c10d::ReduceOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(tensors);
  Tensors copies = Copies(tensors);
  c10d::ReduceOptions sum = options;
  int64_t divisor = SumInPlaceOfAverage(sum, getSize());
  if (getRank() != options.rootRank) divisor = 1;
  return Launch({c10d::OpType::REDUCE, {carrier_->reduce(copies, sum)}, tensors, copies, divisor}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                                                  const c10d::AllgatherOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(inputs);
  Tensors sent = Copies(inputs);
  std::vector<Tensors> received = Copies(outputs);
  return Launch({c10d::OpType::ALLGATHER, {carrier_->allgather(received, sent, options)}, Flat(outputs), Flat(received)},
                device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::_allgather_base(at::Tensor& output, at::Tensor& input,
                                                        const c10d::AllgatherOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll({output, input});
  at::Tensor sent = Snapshot(input), received = Snapshot(output);
  return Launch({c10d::OpType::_ALLGATHER_BASE, {carrier_->_allgather_base(received, sent, options)}, {output}, {received}},
                device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                                        const c10d::AllgatherOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(inputs);
  Tensors sent = Copies(inputs), received = Copies(outputs);
  Job job{c10d::OpType::COALESCED, {}, outputs, received};
  for (size_t i = 0; i < sent.size(); ++i) job.carried.push_back(carrier_->_allgather_base(received[i], sent[i], options));
  return Launch(std::move(job), device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::gather(std::vector<Tensors>& outputs, Tensors& inputs,
                                               const c10d::GatherOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(inputs);
  Tensors sent = Copies(inputs);
  std::vector<Tensors> received = Copies(outputs);
  return Launch({c10d::OpType::GATHER, {carrier_->gather(received, sent, options)}, Flat(outputs), Flat(received)}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                                const c10d::ScatterOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(outputs);
  std::vector<Tensors> sent = Copies(inputs);
  Tensors received = Copies(outputs);
  return Launch({c10d::OpType::SCATTER, {carrier_->scatter(received, sent, options)}, outputs, received}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                                       const c10d::ReduceScatterOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(outputs);
  std::vector<Tensors> sent = Copies(inputs);
  Tensors received = Copies(outputs);
  c10d::ReduceScatterOptions sum = options;
  const int64_t divisor = SumInPlaceOfAverage(sum, getSize());
  return Launch({c10d::OpType::REDUCE_SCATTER, {carrier_->reduce_scatter(received, sent, sum)}, outputs, received, divisor},
                device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::_reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                                             const c10d::ReduceScatterOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll({output, input});
  at::Tensor sent = Snapshot(input), received = Snapshot(output);
  c10d::ReduceScatterOptions sum = options;
  const int64_t divisor = SumInPlaceOfAverage(sum, getSize());
  return Launch({c10d::OpType::_REDUCE_SCATTER_BASE,
                 {carrier_->_reduce_scatter_base(received, sent, sum)}, {output}, {received}, divisor}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                                        const c10d::ReduceScatterOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(outputs);
  Tensors sent = Copies(inputs), received = Copies(outputs);
  c10d::ReduceScatterOptions sum = options;
  Job job{c10d::OpType::COALESCED, {}, outputs, received, SumInPlaceOfAverage(sum, getSize())};
  for (size_t i = 0; i < sent.size(); ++i) job.carried.push_back(carrier_->_reduce_scatter_base(received[i], sent[i], sum));
  return Launch(std::move(job), device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::alltoall_base(at::Tensor& output, at::Tensor& input,
                                                      std::vector<int64_t>& output_sizes,
                                                      std::vector<int64_t>& input_sizes,
                                                      const c10d::AllToAllOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll({output, input});
  at::Tensor sent = Snapshot(input), received = Snapshot(output);
  return Launch({c10d::OpType::ALLTOALL_BASE,
                 {carrier_->alltoall_base(received, sent, output_sizes, input_sizes, options)}, {output}, {received}},
                device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::alltoall(Tensors& outputs, Tensors& inputs,
                                                 const c10d::AllToAllOptions& options) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(outputs);
  Tensors sent = Copies(inputs), received = Copies(outputs);
  return Launch({c10d::OpType::ALLTOALL, {carrier_->alltoall(received, sent, options)}, outputs, received}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::send(Tensors& tensors, int target, int tag) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(tensors);
  Tensors copies = Copies(tensors);
  // The copies live as long as the task.
  return Launch({c10d::OpType::SEND, {carrier_->send(copies, target, tag)}, {}, copies}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::recv(Tensors& tensors, int source, int tag) {
  const DeviceCode device_code;
  const c10::Device device = DeviceOfAll(tensors);
  Tensors copies = Copies(tensors);
  return Launch({c10d::OpType::RECV, {carrier_->recv(copies, source, tag)}, tensors, copies}, device);
}

c10::intrusive_ptr<c10d::Work> HostCcl::barrier(const c10d::BarrierOptions& options) {
  FinishDevice(CurrentDevice());
  c10d::BarrierOptions on_cpu = options;
  on_cpu.device = c10::Device(c10::DeviceType::CPU);
  on_cpu.device_ids.clear();
  return carrier_->barrier(on_cpu);
}

}  // namespace shardcts::hostdev
