#include "comm/nccl_communicator.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "comm/group_calls.h"
#include "comm/nccl_library.h"
#include "comm/tensor_bytes.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kEndTimeout{5};

ncclConfig_t NonBlocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.splitShare = 0;  // what is done to a split-off group does not touch the one that it came from
  return config;
}

ncclDataType_t NcclType(at::ScalarType type) {
  switch (type) {
    case at::kHalf: return ncclFloat16;
    case at::kBFloat16: return ncclBfloat16;
    case at::kFloat: return ncclFloat32;
    case at::kDouble: return ncclFloat64;
    case at::kChar: return ncclInt8;
    case at::kInt: return ncclInt32;
    case at::kLong: return ncclInt64;
    case at::kByte:
    case at::kBool: return ncclUint8;
    default: throw std::invalid_argument(std::string("no reduction of dtype ") + c10::toString(type));
  }
}

ncclRedOp_t NcclOp(ReduceOp op, at::ScalarType type) {
  const bool is_bool = type == at::kBool;
  switch (op) {
    case ReduceOp::kSum: return is_bool ? ncclMax : ncclSum;
    case ReduceOp::kAvg:
      if (!c10::isFloatingType(type)) throw std::invalid_argument("an average needs a floating-point dtype");
      return ncclAvg;
    case ReduceOp::kMin: return ncclMin;
    case ReduceOp::kMax: return ncclMax;
    case ReduceOp::kProduct: return is_bool ? ncclMin : ncclProd;
  }
  throw std::invalid_argument("unknown reduction");
}

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// Sends and receives that NCCL starts together. Those without elements are left out, on both sides.
class PointToPoint {
 public:
  PointToPoint(const NcclLibrary& nccl, ncclComm_t comm, cudaStream_t stream)
      : nccl_(nccl), comm_(comm), stream_(stream), result_(nccl.ncclGroupStart()) {}

  void Send(const at::Tensor& tensor, int to) {
    if (result_ == ncclSuccess && NumBytes(tensor) > 0) {
      result_ = nccl_.ncclSend(tensor.const_data_ptr(), NumBytes(tensor), ncclUint8, to, comm_, stream_);
    }
  }
  void Receive(at::Tensor& tensor, int from) {
    if (result_ == ncclSuccess && NumBytes(tensor) > 0) {
      result_ = nccl_.ncclRecv(tensor.mutable_data_ptr(), NumBytes(tensor), ncclUint8, from, comm_, stream_);
    }
  }
  // The first error, or what the group's end says.
  ncclResult_t End() {
    const ncclResult_t end = nccl_.ncclGroupEnd();
    return result_ == ncclSuccess ? end : result_;
  }

 private:
  const NcclLibrary& nccl_;
  ncclComm_t comm_;
  cudaStream_t stream_;
  ncclResult_t result_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<const NcclLibrary> nccl, at::Device device, std::vector<int64_t> global_ranks,
                   int rank, std::shared_ptr<CallState> parent)
      : nccl_(std::move(nccl)),
        device_(device),
        global_ranks_(std::move(global_ranks)),
        rank_(rank),
        state_(std::make_shared<CallState>(std::move(parent))) {}
  ~NcclCommunicator() override;

  // Before all else, one of the two. *Collective*: makes NCCL's communicator of these ranks before `deadline`.
  void Connect(const ncclUniqueId& id, Clock::time_point deadline);
  // Local. Takes NCCL's communicator of these ranks over.
  void Adopt(ncclComm_t comm);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(global_ranks_.size()); }
  std::string backend() const override { return nccl_->emulator ? "nccl (emulator)" : "nccl"; }
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
    return AllGatherBytesAsTensors(*this, bytes, device_);
  }
  std::unique_ptr<Communicator> Split(int color, int key) override;

  void SetDeadline(Clock::time_point deadline) override { state_->SetDeadline(deadline); }
  void Abort(const std::string& reason) override { state_->Abort(reason); }
  void AbortWhen(std::function<std::optional<std::string>()> poll) override { state_->AbortWhen(std::move(poll)); }
  bool usable() const override { return !state_->failed(); }
  at::Device device() const override { return device_; }

 private:
  // Starts a call with `start()`, which returns NCCL's code, and polls until its result may be used.
  template <class Start>
  void Run(const char* operation, Start start);
  // Starts the making of a communicator with `start(ncclComm_t*)`, and polls until it and `comm_` are ready.
  template <class Start>
  ncclComm_t Make(const char* operation, CallState& wait, Start start);
  void Reduce(const char* operation, const at::Tensor& tensor, ReduceOp op);

  void WaitFor(const char* operation, const std::function<bool(std::string& problem)>& poll);
  void CheckUsable(const char* operation);
  void Check(const char* operation, ncclResult_t code);
  [[noreturn]] void Fail(const char* operation, const std::string& reason);

  // Polls, for WaitFor.
  bool InputsAreReady() const;
  bool CommIsReady(ncclComm_t comm, std::string& problem) const;
  bool StreamIsDone(std::string& problem) const;
  std::string ErrorText(ncclResult_t code, ncclComm_t comm) const;

  std::shared_ptr<const NcclLibrary> nccl_;
  at::Device device_;
  std::vector<int64_t> global_ranks_;
  int rank_;
  std::shared_ptr<CallState> state_;
  ncclComm_t comm_ = nullptr;  // nullptr: not connected, or failed
  cudaStream_t stream_ = nullptr;
};

NcclCommunicator::~NcclCommunicator() {
  if (comm_ != nullptr) {
    CallState end;
    end.SetDeadline(Clock::now() + kEndTimeout);
    const ncclResult_t code = nccl_->ncclCommFinalize(comm_);
    const bool finalized =
        (code == ncclSuccess || code == ncclInProgress) &&
        !shardcts::WaitFor(end, [this](std::string& problem) { return CommIsReady(comm_, problem); });
    finalized ? nccl_->ncclCommDestroy(comm_) : nccl_->ncclCommAbort(comm_);
  }
  if (stream_ != nullptr) nccl_->cudaStreamDestroy(stream_);
}

void NcclCommunicator::Connect(const ncclUniqueId& id, Clock::time_point deadline) {
  if (device_.has_index()) nccl_->cudaSetDevice(device_.index());
  CallState wait;
  wait.SetDeadline(deadline);
  Adopt(Make("init", wait, [&](ncclComm_t* comm) {
    ncclConfig_t config = NonBlocking();
    return nccl_->ncclCommInitRankConfig(comm, size(), id, rank_, &config);
  }));
}

void NcclCommunicator::Adopt(ncclComm_t comm) {
  comm_ = comm;
  const cudaError_t code = nccl_->cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  if (code != cudaSuccess) Fail("init", nccl_->cudaGetErrorString(code));
}

bool NcclCommunicator::InputsAreReady() const {
  if (device_.is_cpu()) return true;
  const c10::impl::VirtualGuardImpl guard(device_.type());
  return guard.queryStream(guard.getStream(device_));
}

bool NcclCommunicator::CommIsReady(ncclComm_t comm, std::string& problem) const {
  ncclResult_t state = ncclSuccess;
  ncclResult_t code = nccl_->ncclCommGetAsyncError(comm, &state);
  if (code == ncclSuccess) code = state;
  if (code != ncclSuccess && code != ncclInProgress) problem = ErrorText(code, comm);
  return code == ncclSuccess;
}

bool NcclCommunicator::StreamIsDone(std::string& problem) const {
  const cudaError_t code = nccl_->cudaStreamQuery(stream_);
  if (code != cudaSuccess && code != cudaErrorNotReady) problem = nccl_->cudaGetErrorString(code);
  return code == cudaSuccess;
}

std::string NcclCommunicator::ErrorText(ncclResult_t code, ncclComm_t comm) const {
  std::string text = nccl_->ncclGetErrorString(code);
  const char* detail = nccl_->ncclGetLastError(comm);
  if (detail != nullptr && *detail != '\0') text += std::string(": ") + detail;
  return OneLine(text);
}

void NcclCommunicator::Fail(const char* operation, const std::string& reason) {
  if (comm_ != nullptr) nccl_->ncclCommAbort(comm_);
  comm_ = nullptr;
  state_->NoteFailure();
  throw CommunicationError(FailureText(*this, operation, reason));
}

void NcclCommunicator::Check(const char* operation, ncclResult_t code) {
  if (code != ncclSuccess && code != ncclInProgress) Fail(operation, ErrorText(code, comm_));
}

void NcclCommunicator::CheckUsable(const char* operation) {
  if (auto reason = state_->AbortReason()) Fail(operation, "aborted: " + *reason);
  if (comm_ == nullptr) Fail(operation, "an earlier call of this communicator has failed");
}

void NcclCommunicator::WaitFor(const char* operation, const std::function<bool(std::string& problem)>& poll) {
  if (const auto reason = shardcts::WaitFor(*state_, poll)) Fail(operation, *reason);
}

template <class Start>
void NcclCommunicator::Run(const char* operation, Start start) {
  CheckUsable(operation);
  WaitFor(operation, [this](std::string&) { return InputsAreReady(); });
  Check(operation, start());
  WaitFor(operation, [this](std::string& problem) { return CommIsReady(comm_, problem) && StreamIsDone(problem); });
}

template <class Start>
ncclComm_t NcclCommunicator::Make(const char* operation, CallState& wait, Start start) {
  // On the heap: NCCL may still write to it when the wait has ended without it.
  auto made = std::make_unique<ncclComm_t>(nullptr);
  const auto give_up = [&](const std::string& reason) {
    ncclComm_t comm = *made.release();
    if (comm != nullptr) nccl_->ncclCommAbort(comm);
    Fail(operation, reason);
  };
  const ncclResult_t code = start(made.get());
  if (code != ncclSuccess && code != ncclInProgress) give_up(ErrorText(code, comm_));
  const auto reason = shardcts::WaitFor(wait, [&](std::string& problem) {
    if (comm_ != nullptr && !CommIsReady(comm_, problem)) return false;
    return *made == nullptr || CommIsReady(*made, problem);
  });
  if (reason) give_up(*reason);
  return *made;
}

void NcclCommunicator::AllGatherInto(at::Tensor output, const at::Tensor& input) {
  CheckTensor(output, "all_gather output", device_);
  CheckTensor(input, "all_gather input", device_);
  CheckChunks(output, input, size(), "all_gather");
  Run("all_gather", [&] {
    return nccl_->ncclAllGather(input.const_data_ptr(), output.mutable_data_ptr(), NumBytes(input), ncclUint8, comm_,
                                stream_);
  });
}

void NcclCommunicator::AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) {
  CheckTensors(outputs, size(), "all_gather_v outputs", device_);
  CheckTensor(input, "all_gather_v input", device_);
  if (NumBytes(outputs[rank_]) != NumBytes(input)) {
    throw std::invalid_argument("all_gather_v: own output differs in size");
  }
  Run("all_gather_v", [&] {
    PointToPoint calls(*nccl_, comm_, stream_);
    for (int r = 0; r < size(); ++r) {
      calls.Send(input, r);
      calls.Receive(outputs[r], r);
    }
    return calls.End();
  });
}

void NcclCommunicator::ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) {
  CheckTensor(output, "reduce_scatter output", device_);
  CheckTensor(input, "reduce_scatter input", device_);
  CheckChunks(input, output, size(), "reduce_scatter");
  if (output.scalar_type() == at::kShort) {
    c10::NoGradGuard no_grad;
    at::Tensor wide = at::empty(output.sizes(), output.options().dtype(at::kInt));
    ReduceScatter(wide, input.to(at::kInt), op);
    output.copy_(wide);
    return;
  }
  const ncclDataType_t type = NcclType(output.scalar_type());
  const ncclRedOp_t nccl_op = NcclOp(op, output.scalar_type());
  Run("reduce_scatter", [&] {
    return nccl_->ncclReduceScatter(input.const_data_ptr(), output.mutable_data_ptr(), output.numel(), type, nccl_op,
                                    comm_, stream_);
  });
}

void NcclCommunicator::Reduce(const char* operation, const at::Tensor& tensor, ReduceOp op) {
  const ncclDataType_t type = NcclType(tensor.scalar_type());
  const ncclRedOp_t nccl_op = NcclOp(op, tensor.scalar_type());
  Run(operation, [&] {
    return nccl_->ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.numel(), type, nccl_op,
                                comm_, stream_);
  });
}

void NcclCommunicator::AllReduce(at::Tensor tensor, ReduceOp op) {
  CheckTensor(tensor, "all_reduce tensor", device_);
  if (tensor.scalar_type() == at::kShort) {
    c10::NoGradGuard no_grad;
    const at::Tensor wide = tensor.to(at::kInt);
    Reduce("all_reduce", wide, op);
    tensor.copy_(wide);
  } else {
    Reduce("all_reduce", tensor, op);
  }
}

void NcclCommunicator::Barrier() {
  Reduce("barrier", at::zeros({1}, at::dtype(at::kByte).device(device_)), ReduceOp::kMax);
}

void NcclCommunicator::Broadcast(at::Tensor tensor, int root) {
  CheckTensor(tensor, "broadcast tensor", device_);
  Run("broadcast", [&] {
    return nccl_->ncclBroadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), NumBytes(tensor), ncclUint8, root,
                                comm_, stream_);
  });
}

void NcclCommunicator::Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) {
  CheckTensor(input, "gather input", device_);
  CheckTensors(outputs, rank_ == root ? size() : 0, "gather outputs", device_);
  Run("gather", [&] {
    PointToPoint calls(*nccl_, comm_, stream_);
    calls.Send(input, root);
    for (size_t r = 0; r < outputs.size(); ++r) calls.Receive(outputs[r], static_cast<int>(r));
    return calls.End();
  });
}

void NcclCommunicator::Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) {
  CheckTensor(output, "scatter output", device_);
  CheckTensors(inputs, rank_ == root ? size() : 0, "scatter inputs", device_);
  Run("scatter", [&] {
    PointToPoint calls(*nccl_, comm_, stream_);
    for (size_t r = 0; r < inputs.size(); ++r) calls.Send(inputs[r], static_cast<int>(r));
    calls.Receive(output, root);
    return calls.End();
  });
}

void NcclCommunicator::Send(const at::Tensor& tensor, int to, int tag) {
  CheckTensor(tensor, "send tensor", device_);
  Run("send", [&] {
    PointToPoint calls(*nccl_, comm_, stream_);
    calls.Send(tensor, to);
    return calls.End();
  });
}

void NcclCommunicator::Receive(at::Tensor tensor, int from, int tag) {
  CheckTensor(tensor, "receive tensor", device_);
  Run("receive", [&] {
    PointToPoint calls(*nccl_, comm_, stream_);
    calls.Receive(tensor, from);
    return calls.End();
  });
}

std::unique_ptr<Communicator> NcclCommunicator::Split(int color, int key) {
  const std::vector<int64_t> members = MembersAfterSplit(*this, color, key, device_);
  CheckUsable("split");
  ncclComm_t comm = Make("split", *state_, [&](ncclComm_t* made) {
    ncclConfig_t config = NonBlocking();
    return nccl_->ncclCommSplit(comm_, color < 0 ? NCCL_SPLIT_NOCOLOR : color, key, made, &config);
  });
  if (color < 0) return nullptr;
  const auto own = std::find(members.begin(), members.end(), global_ranks_[rank_]);
  auto group =
      std::make_unique<NcclCommunicator>(nccl_, device_, members, static_cast<int>(own - members.begin()), state_);
  group->Adopt(comm);
  return group;
}

// One device per rank; every rank learns when one has none.
at::Device DeviceOf(Rendezvous& rendezvous, const NcclLibrary& nccl, int local_rank) {
  if (nccl.emulator) return at::kCPU;
  int devices = 0;
  nccl.cudaGetDeviceCount(&devices);
  const std::vector<std::string> has_one = rendezvous.AllGather(local_rank < devices ? "yes" : "no");
  for (size_t rank = 0; rank < has_one.size(); ++rank) {
    if (has_one[rank] != "yes") throw NcclNotUsable("nccl: rank " + std::to_string(rank) + " has no GPU of its own");
  }
  return {at::kCUDA, static_cast<c10::DeviceIndex>(local_rank)};
}

}  // namespace

std::unique_ptr<Communicator> MakeNcclCommunicator(Rendezvous& rendezvous, std::shared_ptr<const NcclLibrary> nccl,
                                                   int local_rank, std::chrono::milliseconds timeout) {
  const at::Device device = DeviceOf(rendezvous, *nccl, local_rank);
  ncclUniqueId id = {};
  ncclResult_t code = ncclSuccess;
  if (rendezvous.rank() == 0) code = nccl->ncclGetUniqueId(&id);
  // Without an id: nothing is sent, and every rank says so.
  const std::string received =
      rendezvous.AllGather(std::string(id.internal, code == ncclSuccess ? sizeof id.internal : 0)).front();
  if (received.size() != sizeof id.internal) throw CommunicationError("nccl: rank 0 could not make a unique id");
  std::memcpy(id.internal, received.data(), sizeof id.internal);

  std::vector<int64_t> ranks(static_cast<size_t>(rendezvous.size()));
  std::iota(ranks.begin(), ranks.end(), int64_t{0});
  auto world = std::make_unique<NcclCommunicator>(std::move(nccl), device, ranks, rendezvous.rank(), nullptr);
  world->Connect(id, Clock::now() + timeout);
  return world;
}

}  // namespace shardcts
