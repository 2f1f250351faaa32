// Training under fully_shard gives the same result as training without it. Memory is allocated and freed as specified.
#include <gmock/gmock.h>

#include "fully_shard/testing/sharded_training.h"
#include "fully_shard/storage.h"

namespace shardcts::reference {
namespace {

using ::testing::Each;

std::vector<size_t> UnshardedBytes(models::Module& model) {
  std::vector<size_t> bytes;
  for (const ShardedParameter* parameter : ShardedParametersOf(model)) {
    bytes.push_back(StorageBytes(parameter->unsharded_buffer()));
  }
  return bytes;
}

size_t CountDistributed(models::Module& model) {
  size_t count = 0;
  for (const models::ParameterPtr& parameter : ParametersOf(model)) count += parameter->distribution != nullptr;
  return count;
}

struct TrainingCase {
  std::string name;
  int64_t dim = 5;  // uneven over 2 and 4 ranks
  bool hybrid = false;
  std::optional<bool> reshard_after_forward;
  bool largest_dim = false;
  bool offload = false;
};

class TrainingTest : public testing::TestWithParam<TrainingCase> {};

TEST_P(TrainingTest, ThreeStepsEqualAnUnshardedTwin) {
  const TrainingCase& param = GetParam();
  const models::ModulePtr model = BuildZoo("mlp_sequence", {{"dim", param.dim}});
  const models::ModulePtr twin = models::DeepCopy(*model);
  FullyShardOptions options = On(param.hybrid ? HybridMesh() : LineMesh());
  options.reshard_after_forward = param.reshard_after_forward;
  if (param.largest_dim) options.shard_placement = LargestDim;
  if (param.offload) options.offload = CpuOffloadPolicy{};
  ShardAll(*model, kThreeLayers, options);
  ExpectFullValuesOf(*model, *twin);
  TrainBoth(*model, *twin, param.dim);
  ExpectFullValuesOf(*model, *twin, kSumOrderTolerance);
}

INSTANTIATE_TEST_SUITE_P(
    All, TrainingTest,
    testing::Values(TrainingCase{"line"}, TrainingCase{.name = "keep", .reshard_after_forward = false},
                    TrainingCase{.name = "reshard_root", .reshard_after_forward = true},
                    TrainingCase{.name = "hybrid", .hybrid = true},
                    TrainingCase{.name = "largest_dim", .dim = 16, .largest_dim = true},
                    TrainingCase{.name = "hybrid_largest_dim", .dim = 16, .hybrid = true, .largest_dim = true},
                    TrainingCase{.name = "offload", .offload = true}),
    [](const auto& info) { return info.param.name; });

TEST(FullyShardTest, OneGroupOverTheWholeModelTrainsToo) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  const models::ModulePtr twin = models::DeepCopy(*model);
  ShardAll(*model, {}, On(LineMesh()));
  TrainBoth(*model, *twin, 3);
  ExpectFullValuesOf(*model, *twin, kSumOrderTolerance);
}

TEST(FullyShardTest, ReshardingFreesTheUnshardedStorage) {
  const models::ModulePtr model = BuildZoo("mlp_sequence", {{"dim", 4}});
  FullyShardOptions options = On(LineMesh());
  options.reshard_after_forward = true;
  ShardAll(*model, kThreeLayers, options);
  size_t unsharded_in_forward = 0;
  model->child("1")->child("in_proj")->AddForwardPreHook([&](at::Tensor input) {
    unsharded_in_forward = 12 - CountDistributed(*model);
    return input;
  });
  const at::Tensor output = model->Call(InputOf(World().rank(), 0, 4));
  EXPECT_EQ(unsharded_in_forward, 4u) << "only the running group is unsharded";
  EXPECT_THAT(UnshardedBytes(*model), Each(0u));
  output.sum().backward();
  EXPECT_THAT(UnshardedBytes(*model), Each(0u));
  EXPECT_EQ(CountDistributed(*model), 12u);
}

TEST(FullyShardTest, TheRootStaysUnshardedUntilBackwardUnlessToldOtherwise) {
  const models::ModulePtr model = BuildZoo("mlp_sequence", {{"dim", 4}});
  ShardAll(*model, {"0", "1"}, On(LineMesh()));
  const at::Tensor output = model->Call(InputOf(World().rank(), 0, 4));
  EXPECT_EQ(CountDistributed(*model), 8u);
  EXPECT_EQ(model->child("2")->child("in_proj")->parameter("weight")->value.size(0), 16);
  output.sum().backward();
  EXPECT_EQ(CountDistributed(*model), 12u);
}

TEST(FullyShardTest, GradientsAreShardedLikeTheirParametersAndAccumulate) {
  const models::ModulePtr model = BuildZoo("linear", {{"in", 3}, {"out", 5}});
  ShardAll(*model, {}, On(LineMesh()));
  const models::ParameterPtr weight = model->parameter("weight");
  const at::Tensor input = InputOf(World().rank(), 0, 3);
  model->Call(input).sum().backward();
  const at::Tensor once = weight->value.grad().clone();
  EXPECT_EQ(once.sizes(), weight->value.sizes());
  model->Call(input).sum().backward();
  EXPECT_TRUE(at::equal(weight->value.grad(), once + once));
}

TEST(FullyShardTest, MixedPrecisionKeepsTheShardsInTheOriginalDtype) {
  const models::ModulePtr model = BuildZoo("mlp_sequence", {{"dim", 4}});
  FullyShardOptions options = On(LineMesh());
  options.mixed_precision = {.param_dtype = at::kBFloat16, .reduce_dtype = at::kFloat, .output_dtype = at::kFloat};
  ShardAll(*model, kThreeLayers, options);
  at::ScalarType seen = at::kFloat;
  model->child("0")->child("in_proj")->AddForwardPreHook([&](at::Tensor input) {
    seen = model->child("0")->child("in_proj")->parameter("weight")->value.scalar_type();
    return input;
  });
  const at::Tensor output = model->Call(InputOf(World().rank(), 0, 4));
  EXPECT_EQ(seen, at::kBFloat16);
  EXPECT_EQ(output.scalar_type(), at::kFloat);
  output.sum().backward();
  for (const models::ParameterPtr& parameter : ParametersOf(*model)) {
    EXPECT_EQ(parameter->value.scalar_type(), at::kFloat);
    EXPECT_EQ(parameter->value.grad().scalar_type(), at::kFloat);
  }
}

TEST(FullyShardTest, TiedWeightsAreOneShardedParameterAndTrainAsOne) {
  const models::ModulePtr model = BuildZoo("transformer", {{"dropout_p", 0.0}});
  const models::ModulePtr twin = models::DeepCopy(*model);
  ShardAll(*model, {"layers.0", "layers.1"}, On(LineMesh()));
  EXPECT_EQ(models::NamedParameters(*model).size(), 28u);
  const auto optimizer = MakeAdam(ParametersOf(*model), {.lr = 0.01});
  const auto twin_optimizer = MakeAdam(ParametersOf(*twin), {.lr = 0.01});
  for (int step = 0; step < 2; ++step) {
    const at::Tensor tokens = models::ExampleInput("transformer", {});
    StepTwin(*twin, *twin_optimizer, {tokens});
    StepSharded(*model, *optimizer, tokens);
  }
  EXPECT_EQ(model->child("output")->parameter("weight"), model->child("tok_embeddings")->parameter("weight"));
  ExpectFullValuesOf(*model, *twin, 1e-4);
}

}  // namespace
}  // namespace shardcts::reference
