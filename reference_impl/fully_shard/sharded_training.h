// The vocabulary of fully_shard's tests: models, meshes, and training next to an unsharded twin.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "comm/testing/rank_tests.h"
#include "fully_shard/fsdp_state.h"
#include "fully_shard/fully_shard.h"
#include "models/zoo.h"
#include "optim/optimizer.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/error_of.h"
#include "tensor/redistribute.h"

namespace shardcts::reference {

// The same bits on every rank.
inline models::ModulePtr BuildZoo(const std::string& name, const Dict& args, at::Device device = at::kCPU) {
  at::manual_seed(1234);
  return models::BuildModel(name, args, device);
}

inline std::shared_ptr<DeviceMesh> LineMesh() { return DeviceMesh::Create(World(), "cpu", {World().size()}, {}); }

// Two rows of replicas.
inline std::shared_ptr<DeviceMesh> HybridMesh() {
  return DeviceMesh::Create(World(), "cpu", {2, World().size() / 2}, {"replicate", "shard"});
}

inline FullyShardOptions On(std::shared_ptr<DeviceMesh> mesh) {
  FullyShardOptions options;
  options.mesh = std::move(mesh);
  return options;
}

inline const std::vector<std::string> kThreeLayers = {"0", "1", "2"};

// The modules at these paths, then the root.
inline void ShardAll(models::Module& model, const std::vector<std::string>& paths, const FullyShardOptions& options) {
  for (const std::string& path : paths) FullyShard(*models::FindModule(model, path), options);
  FullyShard(model, options);
}

inline std::vector<ShardedParameter*> ShardedParametersOf(models::Module& model) {
  std::vector<ShardedParameter*> all;
  for (const auto& [path, module] : models::NamedModules(model)) {
    const FsdpState* state = FsdpState::Find(*module);
    if (!state || !state->group()) continue;
    for (const auto& parameter : state->group()->parameters()) all.push_back(parameter.get());
  }
  return all;
}

inline at::Tensor FullValue(const models::Parameter& parameter) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  EXPECT_NE(distribution, nullptr) << "not a DTensor";
  return FullTensor(WithDistribution(*distribution, parameter.value.detach()));
}

inline std::vector<models::ParameterPtr> ParametersOf(models::Module& model) {
  std::vector<models::ParameterPtr> parameters;
  for (const auto& [name, parameter] : models::NamedParameters(model)) parameters.push_back(parameter);
  return parameters;
}

// *Collective*. Names, and values bit by bit or within float32's tolerance for sums in another order.
inline void ExpectFullValuesOf(models::Module& sharded, models::Module& twin, double tolerance = 0) {
  const auto actual = models::NamedParameters(sharded);
  const auto expected = models::NamedParameters(twin);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].first, expected[i].first);
    const at::Tensor full = FullValue(*actual[i].second);
    const at::Tensor& value = expected[i].second->value;
    ASSERT_EQ(full.sizes(), value.sizes()) << actual[i].first;
    EXPECT_TRUE(at::allclose(full, value.detach(), tolerance, tolerance)) << actual[i].first;
  }
}

// What rank `rank` feeds in step `step`.
inline at::Tensor InputOf(int rank, int step, int64_t width) {
  return at::sin(at::arange(3 * width, at::kFloat) * (1.0 + rank) + step).view({3, width});
}

// One step of a plain model on the average of all ranks' losses.
inline void StepTwin(models::Module& twin, Optimizer& optimizer, const std::vector<at::Tensor>& inputs_by_rank) {
  for (const at::Tensor& input : inputs_by_rank) {
    (twin.Call(input).sum() / static_cast<double>(inputs_by_rank.size())).backward();
  }
  optimizer.Step();
  optimizer.ZeroGrad();
}

inline void StepSharded(models::Module& sharded, Optimizer& optimizer, const at::Tensor& input) {
  sharded.Call(input).sum().backward();
  optimizer.Step();
  optimizer.ZeroGrad();
}

// *Collective*. Three steps of both, each rank of the sharded one on its own data.
inline void TrainBoth(models::Module& sharded, models::Module& twin, int64_t width) {
  const auto optimizer = MakeSgd(ParametersOf(sharded), {.lr = 0.05, .momentum = 0.9});
  const auto twin_optimizer = MakeSgd(ParametersOf(twin), {.lr = 0.05, .momentum = 0.9});
  for (int step = 0; step < 3; ++step) {
    std::vector<at::Tensor> inputs;
    for (int rank = 0; rank < World().size(); ++rank) inputs.push_back(InputOf(rank, step, width));
    StepTwin(twin, *twin_optimizer, inputs);
    StepSharded(sharded, *optimizer, inputs[World().rank()]);
  }
}

constexpr double kSumOrderTolerance = 2e-6;

}  // namespace shardcts::reference
