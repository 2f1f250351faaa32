#include "comm/delayed_communicator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace shardcts {
namespace {

using Tensors = std::span<const at::Tensor>;

class DelayedCommunicator final : public Communicator {
 public:
  DelayedCommunicator(Communicator& inner, std::unique_ptr<Communicator> owned, std::shared_ptr<TransportDelay> delay)
      : inner_(inner), owned_(std::move(owned)), delay_(std::move(delay)) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string backend() const override { return inner_.backend(); }
  const std::vector<int64_t>& global_ranks() const override { return inner_.global_ranks(); }

  void AllGatherInto(at::Tensor output, const at::Tensor& input) override {
    Delay({&output, 1}, {&input, 1});
    inner_.AllGatherInto(output, input);
  }
  void AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) override {
    Delay(outputs, {&input, 1});
    inner_.AllGatherV(outputs, input);
  }
  void ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) override {
    Delay({&output, 1}, {&input, 1});
    inner_.ReduceScatter(output, input, op);
  }
  void AllReduce(at::Tensor tensor, ReduceOp op) override {
    Delay();
    inner_.AllReduce(tensor, op);
  }
  void Broadcast(at::Tensor tensor, int root) override {
    rank() == root ? Delay() : Delay({&tensor, 1});
    inner_.Broadcast(tensor, root);
  }
  void Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) override {
    Delay(outputs, {&input, 1});
    inner_.Gather(outputs, input, root);
  }
  void Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) override {
    Delay({&output, 1}, inputs);
    inner_.Scatter(output, inputs, root);
  }
  void Send(const at::Tensor& tensor, int to, int tag) override {
    Delay();
    inner_.Send(tensor, to, tag);
  }
  void Receive(at::Tensor tensor, int from, int tag) override {
    Delay({&tensor, 1});
    inner_.Receive(tensor, from, tag);
  }
  void Barrier() override {
    Delay();
    inner_.Barrier();
  }
  bool ExchangeDirectly(const TensorsByRank& sends, const TensorsByRank& receives) override {
    Delay();
    return inner_.ExchangeDirectly(sends, receives);
  }
  c10::Allocator* DirectMemory() override { return inner_.DirectMemory(); }
  std::vector<std::string> AllGatherBytes(const std::string& bytes) override {
    Delay();
    return inner_.AllGatherBytes(bytes);
  }
  std::unique_ptr<Communicator> Split(int color, int key) override {
    Delay();
    std::unique_ptr<Communicator> group = inner_.Split(color, key);
    if (!group) return nullptr;
    Communicator& inner = *group;
    return std::make_unique<DelayedCommunicator>(inner, std::move(group), delay_);
  }

  void SetDeadline(std::chrono::steady_clock::time_point deadline) override { inner_.SetDeadline(deadline); }
  void Abort(const std::string& reason) override { inner_.Abort(reason); }
  void AbortWhen(std::function<std::optional<std::string>()> poll) override { inner_.AbortWhen(std::move(poll)); }
  bool usable() const override { return inner_.usable(); }
  at::Device device() const override { return inner_.device(); }

 private:
  void Delay(Tensors outputs = {}, Tensors inputs = {}) const {
    const auto delay = delay_->Next();
    if (!delay) return;
    for (const at::Tensor& output : outputs) {
      if (std::ranges::none_of(inputs, [&](const at::Tensor& input) { return input.is_alias_of(output); })) {
        PoisonTensor(output);
      }
    }
    std::this_thread::sleep_for(*delay);
  }

  Communicator& inner_;
  std::unique_ptr<Communicator> owned_;  // nullptr: another owns `inner_`
  std::shared_ptr<TransportDelay> delay_;
};

}  // namespace

std::unique_ptr<Communicator> MakeDelayedCommunicator(Communicator& inner, std::shared_ptr<TransportDelay> delay) {
  return std::make_unique<DelayedCommunicator>(inner, nullptr, std::move(delay));
}

}  // namespace shardcts
