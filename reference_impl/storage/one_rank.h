// A group of this rank alone: for what one rank does by itself with code that is written for groups.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"

namespace shardcts::reference {

// Every call returns at once; a message to another rank, or from one, is a CommunicationError.
class OneRank final : public Communicator {
 public:
  // `global_rank`: of this process.
  explicit OneRank(int64_t global_rank) : global_ranks_{global_rank} {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string backend() const override { return "one rank"; }
  const std::vector<int64_t>& global_ranks() const override { return global_ranks_; }

  void AllGatherInto(at::Tensor output, const at::Tensor& input) override;
  void AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) override;
  void ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) override;
  void AllReduce(at::Tensor, ReduceOp) override {}
  void Broadcast(at::Tensor, int) override {}
  void Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) override;
  void Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) override;
  void Send(const at::Tensor& tensor, int to, int tag) override;
  void Receive(at::Tensor tensor, int from, int tag) override;
  void Barrier() override {}
  std::vector<std::string> AllGatherBytes(const std::string& bytes) override { return {bytes}; }
  std::unique_ptr<Communicator> Split(int color, int key) override;
  void SetDeadline(std::chrono::steady_clock::time_point) override {}
  void Abort(const std::string&) override {}

 private:
  const std::vector<int64_t> global_ranks_;
};

}  // namespace shardcts::reference
