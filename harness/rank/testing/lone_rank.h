// LoneRank: a session of one rank without MPI, for tests of what runs on a session.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "rank/session.h"

namespace shardcts {

class LoneRank {
 public:
  using Invoke = std::function<Outcome(std::string_view operation, const Dict& arguments)>;

  explicit LoneRank(Invoke invoke) : implementation_(std::move(invoke)) {}
  Session& session() { return session_; }

 private:
  // A group of one: gathering is copying.
  class Alone : public Communicator {
   public:
    int rank() const override { return 0; }
    int size() const override { return 1; }
    std::string backend() const override { return "none"; }
    const std::vector<int64_t>& global_ranks() const override { return ranks_; }
    void AllGatherInto(at::Tensor output, const at::Tensor& input) override {
      output.copy_(input.reshape(output.sizes()));
    }
    void AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) override { outputs[0].copy_(input); }
    void ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp) override { output.copy_(input); }
    void AllReduce(at::Tensor, ReduceOp) override {}
    void Broadcast(at::Tensor, int) override {}
    void Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int) override { outputs[0].copy_(input); }
    void Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int) override { output.copy_(inputs[0]); }
    void Send(const at::Tensor&, int, int) override { throw CommunicationError("no peer"); }
    void Receive(at::Tensor, int, int) override { throw CommunicationError("no peer"); }
    void Barrier() override {}
    std::vector<std::string> AllGatherBytes(const std::string& bytes) override { return {bytes}; }
    std::string BroadcastBytes(const std::string& bytes, int) override { return bytes; }
    std::unique_ptr<Communicator> Split(int, int) override { return std::make_unique<Alone>(); }
    void SetDeadline(std::chrono::steady_clock::time_point) override {}
    void Abort(const std::string&) override {}

   private:
    std::vector<int64_t> ranks_ = {0};
  };

  class Function : public Implementation {
   public:
    explicit Function(LoneRank::Invoke invoke) : invoke_(std::move(invoke)) {}
    Outcome Invoke(std::string_view operation, const Dict& arguments) override { return invoke_(operation, arguments); }

   private:
    LoneRank::Invoke invoke_;
  };

  Alone communicator_;
  Function implementation_;
  ControlPlane control_{communicator_, std::chrono::seconds(10)};
  Session session_{implementation_, control_, 0, 1, "cpu"};
};

}  // namespace shardcts
