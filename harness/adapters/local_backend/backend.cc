#include "adapters/local_backend/backend.h"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "adapters/local_backend/commands.h"
#include "adapters/local_backend/group_rendezvous.h"

namespace shardcts::local_backend {
namespace {

using Tensors = LocalBackend::Tensors;

class LocalWork final : public c10d::Work {
 public:
  LocalWork(int rank, c10d::OpType kind, Tensors outputs)
      : Work(rank, kind),
        outputs_(std::move(outputs)),
        future_(c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()))) {}

  void End(const std::exception_ptr& error) {
    error ? future_->setError(error) : future_->markCompleted(c10::IValue(outputs_));
    finish(error);
  }
  std::vector<at::Tensor> result() override { return outputs_; }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override { return future_; }

 private:
  Tensors outputs_;
  c10::intrusive_ptr<c10::ivalue::Future> future_;
};

ReduceOp OpOf(const c10d::ReduceOp& op) {
  switch (static_cast<c10d::ReduceOp::RedOpType>(op)) {
    case c10d::ReduceOp::SUM: return ReduceOp::kSum;
    case c10d::ReduceOp::AVG: return ReduceOp::kAvg;
    case c10d::ReduceOp::MIN: return ReduceOp::kMin;
    case c10d::ReduceOp::MAX: return ReduceOp::kMax;
    case c10d::ReduceOp::PRODUCT: return ReduceOp::kProduct;
    default: TORCH_CHECK(false, "local: no such reduction");
  }
}

void CheckDense(const Tensors& tensors) {
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(tensor.layout() == at::kStrided && !tensor.is_meta(), "local: not a dense tensor with values");
  }
}

// Other streams of the device must not come before what was copied there.
void WaitForCopies(const Tensors& tensors) {
  if (tensors.empty() || tensors.front().is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(tensors.front().device().type());
  guard.synchronizeStream(guard.getStream(tensors.front().device()));
}

// What the call writes begins with what it reads, where these are not one memory.
void Take(const at::Tensor& write, const at::Tensor& read) {
  if (write.const_data_ptr() != read.const_data_ptr()) write.variable_data().copy_(read);
}

// Contiguous, on the CPU.
at::Tensor PlaceFor(const at::Tensor& tensor) { return at::empty(tensor.sizes(), tensor.scalar_type()); }

const Tensors& OnlyList(const std::vector<Tensors>& lists) {
  TORCH_CHECK(lists.size() == 1, "local: one device per process");
  return lists.front();
}

// `sends[r]` goes to rank r, `receives[r]` comes from there.
void Exchange(Communicator& group, const Tensors& sends, Tensors& receives) {
  for (int root = 0; root < group.size(); ++root) {
    group.Scatter(receives[static_cast<size_t>(root)], group.rank() == root ? sends : Tensors(), root);
  }
}

// Parts of dimension 0; equal ones where no sizes are given.
Tensors PartsOf(const at::Tensor& tensor, const std::vector<int64_t>& sizes, int count) {
  if (!sizes.empty()) return tensor.split_with_sizes(sizes, 0);
  return tensor.split_with_sizes(std::vector<int64_t>(static_cast<size_t>(count), tensor.size(0) / count), 0);
}

}  // namespace

LocalBackend::LocalBackend(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                           std::vector<int64_t> global_ranks, std::chrono::milliseconds timeout)
    : Backend(rank, size),
      group_(MakeGroup(store, rank, size, global_ranks, timeout)),
      global_ranks_(std::move(global_ranks)),
      timeout_(timeout) {
  Delay(rank);
}

LocalBackend::~LocalBackend() { LocalBackend::shutdown(); }

c10::intrusive_ptr<c10d::Backend::Options> LocalBackend::getBackendOptions() {
  return c10::make_intrusive<Options>("local", timeout_.load());
}

c10::intrusive_ptr<c10d::Backend> LocalBackend::split(const c10::intrusive_ptr<c10d::Store>& store,
                                                      const std::vector<int>& ranks, const c10::intrusive_ptr<Options>&) {
  const auto own = std::ranges::find(ranks, getRank());
  if (own == ranks.end()) return {};
  std::vector<int64_t> members;
  for (const int rank : ranks) members.push_back(global_ranks_.empty() ? rank : global_ranks_[static_cast<size_t>(rank)]);
  return c10::make_intrusive<LocalBackend>(store, static_cast<int>(own - ranks.begin()), static_cast<int>(ranks.size()),
                                           std::move(members), timeout_.load());
}

void LocalBackend::abort() { group_->Abort("the process group is aborted"); }

void LocalBackend::shutdown() {
  for (const auto& [lane, thread] : lanes_) {
    if (!thread->IsIdleWithin(std::chrono::seconds(1))) group_->Abort("the process group ends with messages that nobody took");
  }
  lanes_.clear();
  late_.reset();
}

void LocalBackend::Do(const Job& job, const Tensors& reads, bool is_late) {
  const c10::NoGradGuard no_gradient;
  Tensors writes;
  for (const at::Tensor& tensor : job.writes) {  // a late call shows nothing of what it does before its peers have come
    writes.push_back(!is_late && tensor.is_cpu() && tensor.is_contiguous() ? tensor : PlaceFor(tensor));
  }
  group_->SetDeadline(std::chrono::steady_clock::now() + timeout_.load());
  job.call(*group_, reads, writes);
  for (size_t i = 0; i < writes.size(); ++i) {
    if (!writes[i].is_same(job.writes[i])) job.writes[i].variable_data().copy_(writes[i]);
  }
  WaitForCopies(job.writes);
}

Tensors LocalBackend::ReadsOf(const Job& job, bool is_late) {
  Tensors reads;
  for (const at::Tensor& tensor : job.reads) {
    const at::Tensor values = tensor.detach().cpu();
    const bool is_written = std::ranges::any_of(job.writes, [&](const auto& write) { return write.is_alias_of(values); });
    reads.push_back(is_late && is_written ? values.clone(at::MemoryFormat::Contiguous) : values.contiguous());
  }
  return reads;
}

TaskThread* LocalBackend::ThreadFor(const Job& job, bool is_late) {
  if (job.lane) {
    std::unique_ptr<TaskThread>& thread = lanes_[*job.lane];
    if (!thread) thread = std::make_unique<TaskThread>();
    return thread.get();
  }
  if (is_late && !late_) late_ = std::make_unique<TaskThread>();
  // A call in time does not overtake one that is late.
  return late_ && (is_late || !late_->IsIdleWithin({})) ? late_.get() : nullptr;
}

LocalBackend::WorkPtr LocalBackend::Run(Job job) {
  CheckDense(job.reads);
  CheckDense(job.writes);
  ++calls_;
  auto work = c10::make_intrusive<LocalWork>(getRank(), job.kind, job.writes);
  const Command command = NextCommand(getRank());
  if (command == Command::kAbort) group_->Abort("aborted on command (SHARDCTS_LOCAL_ABORT)");
  const auto delay = Delay(getRank()).Next();
  Tensors reads = ReadsOf(job, delay.has_value());
  if (delay) std::ranges::for_each(job.writes, PoisonTensor);
  TaskThread* const thread = ThreadFor(job, delay.has_value());
  auto task = [this, job = std::move(job), reads = std::move(reads), work, command, delay] {
    if (delay) std::this_thread::sleep_for(*delay);
    try {
      TORCH_CHECK(command != Command::kFail, "local: this collective fails on command (SHARDCTS_LOCAL_FAIL)");
      Do(job, reads, delay.has_value());
      work->End(nullptr);
    } catch (...) {
      work->End(std::current_exception());
    }
  };
  thread != nullptr ? thread->Submit(std::move(task)) : task();
  return work;
}

LocalBackend::WorkPtr LocalBackend::broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) {
  const auto root = static_cast<int>(options.rootRank);
  return Run({c10d::OpType::BROADCAST, tensors, tensors, [root](auto& group, const auto& reads, auto& writes) {
    if (group.rank() == root) Take(writes[0], reads[0]);
    group.Broadcast(writes[0], root);
  }});
}

LocalBackend::WorkPtr LocalBackend::allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) {
  const ReduceOp op = OpOf(options.reduceOp);
  return Run({c10d::OpType::ALLREDUCE, tensors, tensors, [op](auto& group, const auto& reads, auto& writes) {
    for (size_t i = 0; i < reads.size(); ++i) {
      Take(writes[i], reads[i]);
      group.AllReduce(writes[i], op);
    }
  }});
}

LocalBackend::WorkPtr LocalBackend::allreduce_coalesced(Tensors& tensors,
                                                        const c10d::AllreduceCoalescedOptions& options) {
  return allreduce(tensors, options);
}

LocalBackend::WorkPtr LocalBackend::reduce(Tensors& tensors, const c10d::ReduceOptions& options) {
  const ReduceOp op = OpOf(options.reduceOp);
  const bool is_root = getRank() == options.rootRank;
  return Run({c10d::OpType::REDUCE, tensors, is_root ? tensors : Tensors(),
              [op](auto& group, const auto& reads, auto& writes) {
                at::Tensor sum = reads[0].clone();
                group.AllReduce(sum, op);
                if (!writes.empty()) Take(writes[0], sum);
              }});
}

LocalBackend::WorkPtr LocalBackend::allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                                              const c10d::AllgatherOptions&) {
  return Run({c10d::OpType::ALLGATHER, inputs, OnlyList(outputs), [](auto& group, const auto& reads, auto& writes) {
    group.AllGatherV(writes, reads[0]);
  }});
}

LocalBackend::WorkPtr LocalBackend::_allgather_base(at::Tensor& output, at::Tensor& input,
                                                    const c10d::AllgatherOptions&) {
  return Run({c10d::OpType::_ALLGATHER_BASE, {input}, {output}, [](auto& group, const auto& reads, auto& writes) {
    group.AllGatherInto(writes[0], reads[0]);
  }});
}

LocalBackend::WorkPtr LocalBackend::allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                                    const c10d::AllgatherOptions&) {
  return Run({c10d::OpType::COALESCED, inputs, outputs, [](auto& group, const auto& reads, auto& writes) {
    for (size_t i = 0; i < reads.size(); ++i) group.AllGatherInto(writes[i], reads[i]);
  }});
}

LocalBackend::WorkPtr LocalBackend::gather(std::vector<Tensors>& outputs, Tensors& inputs,
                                           const c10d::GatherOptions& options) {
  const auto root = static_cast<int>(options.rootRank);
  return Run({c10d::OpType::GATHER, inputs, getRank() == root ? OnlyList(outputs) : Tensors(),
              [root](auto& group, const auto& reads, auto& writes) { group.Gather(writes, reads[0], root); }});
}

LocalBackend::WorkPtr LocalBackend::scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                            const c10d::ScatterOptions& options) {
  const auto root = static_cast<int>(options.rootRank);
  return Run({c10d::OpType::SCATTER, getRank() == root ? OnlyList(inputs) : Tensors(), outputs,
              [root](auto& group, const auto& reads, auto& writes) { group.Scatter(writes[0], reads, root); }});
}

LocalBackend::WorkPtr LocalBackend::reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                                   const c10d::ReduceScatterOptions& options) {
  const ReduceOp op = OpOf(options.reduceOp);
  return Run({c10d::OpType::REDUCE_SCATTER, OnlyList(inputs), outputs,
              [op](auto& group, const auto& reads, auto& writes) {
    Tensors rows;
    for (const at::Tensor& read : reads) rows.push_back(read.reshape({-1}));
    group.ReduceScatter(writes[0], at::cat(rows), op);
  }});
}

LocalBackend::WorkPtr LocalBackend::_reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                                         const c10d::ReduceScatterOptions& options) {
  const ReduceOp op = OpOf(options.reduceOp);
  return Run({c10d::OpType::_REDUCE_SCATTER_BASE, {input}, {output},
              [op](auto& group, const auto& reads, auto& writes) {
    group.ReduceScatter(writes[0], reads[0], op);
  }});
}

LocalBackend::WorkPtr LocalBackend::reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                                    const c10d::ReduceScatterOptions& options) {
  const ReduceOp op = OpOf(options.reduceOp);
  return Run({c10d::OpType::COALESCED, inputs, outputs, [op](auto& group, const auto& reads, auto& writes) {
    for (size_t i = 0; i < reads.size(); ++i) group.ReduceScatter(writes[i], reads[i], op);
  }});
}

LocalBackend::WorkPtr LocalBackend::alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>& output_sizes,
                                                  std::vector<int64_t>& input_sizes, const c10d::AllToAllOptions&) {
  return Run({c10d::OpType::ALLTOALL_BASE, {input}, {output},
              [input_sizes, output_sizes](auto& group, const auto& reads, auto& writes) {
                Tensors receives = PartsOf(writes[0], output_sizes, group.size());
                Exchange(group, PartsOf(reads[0], input_sizes, group.size()), receives);
              }});
}

LocalBackend::WorkPtr LocalBackend::alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions&) {
  return Run({c10d::OpType::ALLTOALL, inputs, outputs, Exchange});
}

LocalBackend::WorkPtr LocalBackend::send(Tensors& tensors, int target, int tag) {
  return Run({c10d::OpType::SEND, tensors, {}, [target, tag](auto& group, const auto& reads, auto&) {
    group.Send(reads[0], target, tag);
  }, Lane{target, true}});
}

LocalBackend::WorkPtr LocalBackend::recv(Tensors& tensors, int source, int tag) {
  return Run({c10d::OpType::RECV, {}, tensors, [source, tag](auto& group, const auto&, auto& writes) {
    group.Receive(writes[0], source, tag);
  }, Lane{source, false}});
}

LocalBackend::WorkPtr LocalBackend::barrier(const c10d::BarrierOptions&) {
  return Run({c10d::OpType::BARRIER, {}, {}, [](auto& group, const auto&, auto&) { group.Barrier(); }});
}

}  // namespace shardcts::local_backend
