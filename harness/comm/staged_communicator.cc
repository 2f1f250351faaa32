#include "comm/staged_communicator.h"

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
  std::string backend() const override { return "staged over " + inner_->backend(); }
  const std::vector<int64_t>& global_ranks() const override { return inner_->global_ranks(); }

  void AllGatherInto(at::Tensor output, const at::Tensor& input) override {
    const at::Tensor staged = PlaceFor(output);
    inner_->AllGatherInto(staged, Staged(input));
    CopyBack(staged, output);
  }
  void AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) override {
    std::vector<at::Tensor> staged = PlacesFor(outputs);
    inner_->AllGatherV(staged, Staged(input));
    CopyBack(staged, outputs);
  }
  void ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) override {
    const at::Tensor staged = PlaceFor(output);
    inner_->ReduceScatter(staged, Staged(input), op);
    CopyBack(staged, output);
  }
  void AllReduce(at::Tensor tensor, ReduceOp op) override {
    const at::Tensor staged = Staged(tensor);
    inner_->AllReduce(staged, op);
    CopyBack(staged, tensor);
  }
  void Broadcast(at::Tensor tensor, int root) override {
    const at::Tensor staged = rank() == root ? Staged(tensor) : PlaceFor(tensor);
    inner_->Broadcast(staged, root);
    if (rank() != root) CopyBack(staged, tensor);
  }
  void Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) override {
    std::vector<at::Tensor> staged = PlacesFor(outputs);
    inner_->Gather(staged, Staged(input), root);
    CopyBack(staged, outputs);
  }
  void Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) override {
    std::vector<at::Tensor> sent;
    for (const at::Tensor& tensor : inputs) sent.push_back(Staged(tensor));
    const at::Tensor staged = PlaceFor(output);
    inner_->Scatter(staged, sent, root);
    CopyBack(staged, output);
  }
  void Send(const at::Tensor& tensor, int to, int tag) override { inner_->Send(Staged(tensor), to, tag); }
  void Receive(at::Tensor tensor, int from, int tag) override {
    const at::Tensor staged = PlaceFor(tensor);
    inner_->Receive(staged, from, tag);
    CopyBack(staged, tensor);
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
  at::Device device() const override { return device_; }

 private:
  // Both refuse what a backend of that device would refuse and a copy would hide.
  at::Tensor Staged(const at::Tensor& tensor) const {
    CheckTensor(tensor, "tensor to stage", device_);
    return tensor.detach().to(inner_->device(), tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  at::Tensor PlaceFor(const at::Tensor& tensor) const {
    CheckTensor(tensor, "tensor to stage", device_);
    return at::empty(tensor.sizes(), at::TensorOptions().dtype(tensor.scalar_type()).device(inner_->device()));
  }
  std::vector<at::Tensor> PlacesFor(std::span<at::Tensor> tensors) const {
    std::vector<at::Tensor> places;
    for (const at::Tensor& tensor : tensors) places.push_back(PlaceFor(tensor));
    return places;
  }
  // As a backend writes: unseen by autograd, whose check of versions would take it for a change in place.
  static void CopyBack(const at::Tensor& staged, const at::Tensor& tensor) { tensor.variable_data().copy_(staged); }
  static void CopyBack(const std::vector<at::Tensor>& staged, std::span<at::Tensor> tensors) {
    for (size_t i = 0; i < staged.size(); ++i) CopyBack(staged[i], tensors[i]);
  }

  std::unique_ptr<Communicator> inner_;
  at::Device device_;
};

}  // namespace

std::unique_ptr<Communicator> MakeStagedCommunicator(std::unique_ptr<Communicator> inner, at::Device device) {
  return std::make_unique<StagedCommunicator>(std::move(inner), device);
}

}  // namespace shardcts
