#include "storage/one_rank.h"

#include <ATen/ATen.h>

namespace shardcts::reference {

void OneRank::AllGatherInto(at::Tensor output, const at::Tensor& input) { output.view_as(input).copy_(input); }

void OneRank::AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) { outputs.front().copy_(input); }

void OneRank::ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp) {
  output.copy_(input.view_as(output));
}

void OneRank::Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int) { outputs.front().copy_(input); }

void OneRank::Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int) { output.copy_(inputs.front()); }

void OneRank::Send(const at::Tensor&, int to, int) {
  throw CommunicationError("no rank " + std::to_string(to) + " is in a group of one rank");
}

void OneRank::Receive(at::Tensor, int from, int) {
  throw CommunicationError("no rank " + std::to_string(from) + " is in a group of one rank");
}

std::unique_ptr<Communicator> OneRank::Split(int color, int) {
  return color < 0 ? nullptr : std::make_unique<OneRank>(global_ranks_.front());
}

}  // namespace shardcts::reference
