#include "comm/mpi_communicator.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <mpi.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "comm/call_state.h"
#include "comm/group_calls.h"
#include "comm/mpi_call.h"
#include "comm/mpi_names.h"
#include "comm/reduction.h"
#include "comm/tensor_bytes.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;

// How long a call keeps the processor: as long as a message needs that finds its peers ready, with its bytes copied
// at 1 GB/s. MPI moves bytes only while it is polled.
std::chrono::nanoseconds BusyTime(std::span<const at::Tensor> tensors) {
  return std::chrono::microseconds(200) + std::chrono::nanoseconds(TotalBytes(tensors));
}

int ByteCount(int64_t bytes) {
  if (bytes > std::numeric_limits<int>::max()) {
    throw std::invalid_argument("a tensor of " + std::to_string(bytes) + " bytes is too large for one MPI call");
  }
  return static_cast<int>(bytes);
}

int ByteCount(const at::Tensor& tensor) { return ByteCount(NumBytes(tensor)); }

class MpiCommunicator final : public Communicator {
 public:
  // Takes the MPI communicator over.
  MpiCommunicator(MPI_Comm comm, std::vector<int64_t> global_ranks, std::shared_ptr<CallState> parent)
      : comm_(comm), global_ranks_(std::move(global_ranks)), state_(std::make_shared<CallState>(std::move(parent))) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }

  ~MpiCommunicator() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized && !failed_) MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string backend() const override { return "mpi"; }
  const std::vector<int64_t>& global_ranks() const override { return global_ranks_; }

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
  std::vector<std::string> AllGatherBytes(const std::string& bytes) override {
    return AllGatherBytesAsTensors(*this, bytes, at::kCPU);
  }
  std::unique_ptr<Communicator> Split(int color, int key) override;

  void SetDeadline(Clock::time_point deadline) override { state_->SetDeadline(deadline); }
  void Abort(const std::string& reason) override { state_->Abort(reason); }
  void AbortWhen(std::function<std::optional<std::string>()> poll) override { state_->AbortWhen(std::move(poll)); }
  bool usable() const override { return !state_->failed(); }

 private:
  // Starts a call with `start(PendingCall&)`, which returns MPI's code, and polls until it is done.
  template <class Start>
  std::shared_ptr<PendingCall> Run(const char* operation, std::vector<at::Tensor> tensors, Start start);
  void Wait(const char* operation, const std::shared_ptr<PendingCall>& call);
  [[noreturn]] void Fail(const char* operation, const std::string& reason);
  void CheckUsable(const char* operation);  // or fails

  MPI_Comm comm_;
  std::vector<int64_t> global_ranks_;
  std::shared_ptr<CallState> state_;
  int rank_ = 0;
  int size_ = 1;
  bool failed_ = false;
};

void MpiCommunicator::Fail(const char* operation, const std::string& reason) {
  failed_ = true;
  NoteMpiCallFailed();
  state_->NoteFailure();
  throw CommunicationError(FailureText(*this, operation, reason));
}

void MpiCommunicator::CheckUsable(const char* operation) {
  if (auto reason = state_->AbortReason()) Fail(operation, "aborted: " + *reason);
  if (failed_) Fail(operation, "an earlier call of this communicator has failed");
}

template <class Start>
std::shared_ptr<PendingCall> MpiCommunicator::Run(const char* operation, std::vector<at::Tensor> tensors, Start start) {
  CheckUsable(operation);
  auto call = std::make_shared<PendingCall>();
  call->tensors = std::move(tensors);
  const int code = start(*call);
  if (code != MPI_SUCCESS) {
    KeepForever(call);
    Fail(operation, MpiErrorText(code));
  }
  Wait(operation, call);
  return call;
}

void MpiCommunicator::Wait(const char* operation, const std::shared_ptr<PendingCall>& call) {
  const auto is_done = [&call](std::string& problem) {
    int done = 0;
    const int code = MPI_Test(&call->request, &done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) problem = MpiErrorText(code);
    return code == MPI_SUCCESS && done;
  };
  if (const auto reason = WaitFor(*state_, is_done, BusyTime(call->tensors))) {
    KeepForever(call);
    Fail(operation, *reason);
  }
}

void MpiCommunicator::AllGatherInto(at::Tensor output, const at::Tensor& input) {
  CheckTensor(output, "all_gather output");
  CheckTensor(input, "all_gather input");
  CheckChunks(output, input, size_, "all_gather");
  const int bytes = ByteCount(input);
  Run("all_gather", {output, input}, [&](PendingCall& call) {
    return MPI_Iallgather(input.const_data_ptr(), bytes, MPI_BYTE, output.mutable_data_ptr(), bytes, MPI_BYTE, comm_,
                          &call.request);
  });
}

// Sizes and offsets of `tensors` one after the other; returns their sum in bytes.
int64_t PlaceInRow(std::span<const at::Tensor> tensors, PendingCall& call) {
  int64_t total = 0;
  for (const at::Tensor& tensor : tensors) {
    call.counts.push_back(ByteCount(tensor));
    call.offsets.push_back(ByteCount(total));
    total += NumBytes(tensor);
  }
  return total;
}

void MpiCommunicator::AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) {
  CheckTensors(outputs, size_, "all_gather_v outputs");
  CheckTensor(input, "all_gather_v input");
  const int bytes = ByteCount(input);
  if (NumBytes(outputs[rank_]) != bytes) throw std::invalid_argument("all_gather_v: own output differs in size");
  ByteCount(TotalBytes(outputs));
  const at::Tensor row = at::empty({TotalBytes(outputs)}, at::kByte);
  Run("all_gather_v", {row, input}, [&](PendingCall& call) {
    PlaceInRow(outputs, call);
    return MPI_Iallgatherv(input.const_data_ptr(), bytes, MPI_BYTE, row.mutable_data_ptr(), call.counts.data(),
                           call.offsets.data(), MPI_BYTE, comm_, &call.request);
  });
  TakeApart(row, outputs);
}

void MpiCommunicator::ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) {
  CheckTensor(output, "reduce_scatter output");
  CheckTensor(input, "reduce_scatter input");
  CheckChunks(input, output, size_, "reduce_scatter");
  ByteCount(input);
  if (IsHalf(output)) {
    const at::Tensor parts = at::empty({size_, output.numel()}, output.options().requires_grad(false));
    const int bytes = ByteCount(output);
    Run("reduce_scatter", {parts, input}, [&](PendingCall& call) {
      return MPI_Ialltoall(input.const_data_ptr(), bytes, MPI_BYTE, parts.mutable_data_ptr(), bytes, MPI_BYTE, comm_,
                           &call.request);
    });
    c10::NoGradGuard no_grad;
    output.copy_(ReduceHalf(parts, op).view(output.sizes()));
    return;
  }
  const MPI_Datatype type = MpiType(output.scalar_type());
  const MPI_Op mpi_op = MpiOp(op, output.scalar_type());
  Run("reduce_scatter", {output, input}, [&](PendingCall& call) {
    return MPI_Ireduce_scatter_block(input.const_data_ptr(), output.mutable_data_ptr(),
                                     static_cast<int>(output.numel()), type, mpi_op, comm_, &call.request);
  });
  if (op == ReduceOp::kAvg) {
    c10::NoGradGuard no_grad;
    output.div_(size_);
  }
}

void MpiCommunicator::AllReduce(at::Tensor tensor, ReduceOp op) {
  CheckTensor(tensor, "all_reduce tensor");
  ByteCount(tensor);
  c10::NoGradGuard no_grad;
  if (IsHalf(tensor)) {
    const at::Tensor parts = at::empty({size_, tensor.numel()}, tensor.options().requires_grad(false));
    const int bytes = ByteCount(tensor);
    Run("all_reduce", {parts, tensor}, [&](PendingCall& call) {
      return MPI_Iallgather(tensor.const_data_ptr(), bytes, MPI_BYTE, parts.mutable_data_ptr(), bytes, MPI_BYTE, comm_,
                            &call.request);
    });
    tensor.copy_(ReduceHalf(parts, op).view(tensor.sizes()));
    return;
  }
  const MPI_Datatype type = MpiType(tensor.scalar_type());
  const MPI_Op mpi_op = MpiOp(op, tensor.scalar_type());
  Run("all_reduce", {tensor}, [&](PendingCall& call) {
    return MPI_Iallreduce(MPI_IN_PLACE, tensor.mutable_data_ptr(), static_cast<int>(tensor.numel()), type, mpi_op,
                          comm_, &call.request);
  });
  if (op == ReduceOp::kAvg) tensor.div_(size_);
}

void MpiCommunicator::Broadcast(at::Tensor tensor, int root) {
  CheckTensor(tensor, "broadcast tensor");
  const int bytes = ByteCount(tensor);
  Run("broadcast", {tensor}, [&](PendingCall& call) {
    return MPI_Ibcast(tensor.mutable_data_ptr(), bytes, MPI_BYTE, root, comm_, &call.request);
  });
}

void MpiCommunicator::Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) {
  const bool is_root = rank_ == root;
  CheckTensor(input, "gather input");
  CheckTensors(outputs, is_root ? size_ : 0, "gather outputs");
  const int bytes = ByteCount(input);
  ByteCount(TotalBytes(outputs));
  const at::Tensor row = at::empty({TotalBytes(outputs)}, at::kByte);
  Run("gather", {row, input}, [&](PendingCall& call) {
    PlaceInRow(outputs, call);
    return MPI_Igatherv(input.const_data_ptr(), bytes, MPI_BYTE, row.mutable_data_ptr(), call.counts.data(),
                        call.offsets.data(), MPI_BYTE, root, comm_, &call.request);
  });
  TakeApart(row, outputs);
}

void MpiCommunicator::Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) {
  const bool is_root = rank_ == root;
  CheckTensor(output, "scatter output");
  CheckTensors(inputs, is_root ? size_ : 0, "scatter inputs");
  const int bytes = ByteCount(output);
  ByteCount(TotalBytes(inputs));
  const at::Tensor row = at::empty({TotalBytes(inputs)}, at::kByte);
  char* to = static_cast<char*>(row.mutable_data_ptr());
  for (const at::Tensor& tensor : inputs) {
    to = std::copy_n(static_cast<const char*>(tensor.const_data_ptr()), NumBytes(tensor), to);
  }
  Run("scatter", {row, output}, [&](PendingCall& call) {
    PlaceInRow(inputs, call);
    return MPI_Iscatterv(row.const_data_ptr(), call.counts.data(), call.offsets.data(), MPI_BYTE,
                         output.mutable_data_ptr(), bytes, MPI_BYTE, root, comm_, &call.request);
  });
}

void MpiCommunicator::Send(const at::Tensor& tensor, int to, int tag) {
  CheckTensor(tensor, "send tensor");
  const int bytes = ByteCount(tensor);
  Run("send", {tensor}, [&](PendingCall& call) {
    return MPI_Isend(tensor.const_data_ptr(), bytes, MPI_BYTE, to, tag, comm_, &call.request);
  });
}

void MpiCommunicator::Receive(at::Tensor tensor, int from, int tag) {
  CheckTensor(tensor, "receive tensor");
  const int bytes = ByteCount(tensor);
  Run("receive", {tensor}, [&](PendingCall& call) {
    return MPI_Irecv(tensor.mutable_data_ptr(), bytes, MPI_BYTE, from, tag, comm_, &call.request);
  });
}

void MpiCommunicator::Barrier() {
  Run("barrier", {}, [&](PendingCall& call) { return MPI_Ibarrier(comm_, &call.request); });
}

std::unique_ptr<Communicator> MpiCommunicator::Split(int color, int key) {
  std::vector<int64_t> members = MembersAfterSplit(*this, color, key, at::kCPU);
  MPI_Comm comm = MPI_COMM_NULL;
  const int code = MPI_Comm_split(comm_, color < 0 ? MPI_UNDEFINED : color, key, &comm);
  if (code != MPI_SUCCESS) Fail("split", MpiErrorText(code));
  if (color < 0) return nullptr;
  return std::make_unique<MpiCommunicator>(comm, std::move(members), state_);
}

}  // namespace

std::unique_ptr<Communicator> MakeMpiCommunicator() {
  // On the heap: MPI may still write to it when the wait has ended without it.
  auto made = std::make_unique<MPI_Comm>(MPI_COMM_NULL);
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Comm_idup(MPI_COMM_WORLD, made.get(), &request) != MPI_SUCCESS ||
      !DoneWithin(request, CallState::kDefaultTimeout)) {
    static_cast<void>(made.release());
    NoteMpiCallFailed();
    throw CommunicationError("mpi: the communicator over all ranks was not made within 60 s");
  }
  int size = 1;
  MPI_Comm_size(*made, &size);
  std::vector<int64_t> ranks(size);
  std::iota(ranks.begin(), ranks.end(), 0);
  return std::make_unique<MpiCommunicator>(*made, std::move(ranks), nullptr);
}

}  // namespace shardcts
