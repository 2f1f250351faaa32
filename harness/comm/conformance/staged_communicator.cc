#include "comm/conformance/staged_communicator.h"

#include <ATen/ATen.h>

#include "comm/tensor_bytes.h"

namespace shardcts {
namespace {

class StagedCommunicator final : public Communicator {
 public:
  StagedCommunicator(std::unique_ptr<Communicator> inner, at::Device device)
      : inner_(std::move(inner)), device_(device) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string backend() const override { return inner_->backend(); }
  const std::vector<int64_t>& global_ranks() const override { return inner_->global_ranks(); }

  void AllGatherInto(at::Tensor output, const at::Tensor& input) override {
    const at::Tensor staged = Stage(output);
    inner_->AllGatherInto(staged, Stage(input));
    output.copy_(staged);
  }
  void AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) override {
    std::vector<at::Tensor> staged = StageAll(outputs);
    inner_->AllGatherV(staged, Stage(input));
    CopyBack(staged, outputs);
  }
  void ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) override {
    const at::Tensor staged = Stage(output);
    inner_->ReduceScatter(staged, Stage(input), op);
    output.copy_(staged);
  }
  void AllReduce(at::Tensor tensor, ReduceOp op) override {
    const at::Tensor staged = Stage(tensor);
    inner_->AllReduce(staged, op);
    tensor.copy_(staged);
  }
  void Broadcast(at::Tensor tensor, int root) override {
    const at::Tensor staged = Stage(tensor);
    inner_->Broadcast(staged, root);
    tensor.copy_(staged);
  }
  void Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) override {
    std::vector<at::Tensor> staged = StageAll(outputs);
    inner_->Gather(staged, Stage(input), root);
    CopyBack(staged, outputs);
  }
  void Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) override {
    const at::Tensor staged = Stage(output);
    inner_->Scatter(staged, StageAll(inputs), root);
    output.copy_(staged);
  }
  void Send(const at::Tensor& tensor, int to, int tag) override { inner_->Send(Stage(tensor), to, tag); }
  void Receive(at::Tensor tensor, int from, int tag) override {
    const at::Tensor staged = Stage(tensor);
    inner_->Receive(staged, from, tag);
    tensor.copy_(staged);
  }
  void Barrier() override { inner_->Barrier(); }
  std::vector<std::string> AllGatherBytes(const std::string& bytes) override { return inner_->AllGatherBytes(bytes); }
  std::unique_ptr<Communicator> Split(int color, int key) override {
    std::unique_ptr<Communicator> group = inner_->Split(color, key);
    return group ? MakeStagedCommunicator(std::move(group), device_) : nullptr;
  }

  void SetDeadline(std::chrono::steady_clock::time_point deadline) override { inner_->SetDeadline(deadline); }
  void Abort(const std::string& reason) override { inner_->Abort(reason); }
  void AbortWhen(std::function<std::optional<std::string>()> poll) override { inner_->AbortWhen(std::move(poll)); }
  bool usable() const override { return inner_->usable(); }

 private:
  // Refuses what the backend would refuse and a copy would hide.
  at::Tensor Stage(const at::Tensor& tensor) const {
    CheckTensor(tensor, "tensor to stage");
    return tensor.to(device_, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  std::vector<at::Tensor> StageAll(std::span<const at::Tensor> tensors) const {
    std::vector<at::Tensor> staged;
    for (const at::Tensor& tensor : tensors) staged.push_back(Stage(tensor));
    return staged;
  }
  static void CopyBack(const std::vector<at::Tensor>& staged, std::span<at::Tensor> tensors) {
    for (size_t i = 0; i < staged.size(); ++i) tensors[i].copy_(staged[i]);
  }

  std::unique_ptr<Communicator> inner_;
  at::Device device_;
};

}  // namespace

std::unique_ptr<Communicator> MakeStagedCommunicator(std::unique_ptr<Communicator> inner, at::Device device) {
  return std::make_unique<StagedCommunicator>(std::move(inner), device);
}

}  // namespace shardcts
