// Training in units gives the same result as training the plain reference model on the data of all ranks. Memory is
// allocated and freed as specified.
#include "fsdp/testing/units_against_unsharded.h"

namespace shardcts::reference {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

struct TrainingCase {
  std::string name;
  ShardingStrategy strategy = ShardingStrategy::kFullShard;
  bool use_orig_params = false;
  bool offload = false;
};

class UnitTrainingTest : public testing::TestWithParam<TrainingCase> {
 protected:
  static FsdpOptions Options() {
    FsdpOptions options = OverTheWorld();
    options.strategy = GetParam().strategy;
    options.use_orig_params = GetParam().use_orig_params;
    options.offload_params = GetParam().offload;
    if (options.strategy == ShardingStrategy::kHybridShard) {
      const int half = World().size() / 2;
      options.shard_group = World().Split(World().rank() / half, 0);
      options.replicate_group = World().Split(World().rank() % half, 0);
    }
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(All, UnitTrainingTest,
                         testing::Values(TrainingCase{"full_shard"},
                                         TrainingCase{"shard_grad_op", ShardingStrategy::kShardGradOp},
                                         TrainingCase{"no_shard", ShardingStrategy::kNoShard},
                                         TrainingCase{"hybrid", ShardingStrategy::kHybridShard},
                                         TrainingCase{"orig", ShardingStrategy::kFullShard, true},
                                         TrainingCase{"orig_no_shard", ShardingStrategy::kNoShard, true},
                                         TrainingCase{"offload", ShardingStrategy::kFullShard, false, true}),
                         [](const auto& info) { return info.param.name; });

TEST_P(UnitTrainingTest, ThreeStepsEqualThePlainTwin) {
  const auto [model, twin] = NestedModel(Options());
  TrainBoth(*model, *twin, 3);
  ExpectParametersOf(*model, *twin, kSumOrderTolerance);
}

// Two backwards without zero_grad, as two losses added.
TEST_P(UnitTrainingTest, GradientsAccumulate) {
  const auto [model, twin] = NestedModel(Options());
  const auto optimizer = MakeSgd(ParametersOf(*model), {.lr = 0.1});
  const auto twin_optimizer = MakeSgd(ParametersOf(*twin), {.lr = 0.1});
  for (int step = 0; step < 2; ++step) {
    model->Call(InputOf(World().rank(), step, 3)).sum().backward();
    for (int rank = 0; rank < World().size(); ++rank) {
      (twin->Call(InputOf(rank, step, 3)).sum() / static_cast<double>(World().size())).backward();
    }
  }
  optimizer->Step();
  twin_optimizer->Step();
  ExpectParametersOf(*model, *twin, kSumOrderTolerance);
}

// Applies its one child twice.
class Twice : public models::ModuleOf<Twice> {
 public:
  explicit Twice(models::ModulePtr inner) : ModuleOf("Twice") { RegisterChild("inner", std::move(inner)); }
  at::Tensor Forward(at::Tensor input) override {
    return child("inner")->Call(input) + child("inner")->Call(at::tanh(input));
  }
};

TEST_P(UnitTrainingTest, AUnitMayBeUsedTwiceInAForward) {
  const models::ModulePtr twin = std::make_shared<Twice>(BuildZoo("linear", {{"in", 3}, {"out", 3}}));
  const auto model = WrapAll(models::DeepCopy(*twin), {"inner"}, Options());
  TrainBoth(*model, *twin, 3);
  ExpectParametersOf(*model, *twin, kSumOrderTolerance);
}

std::vector<size_t> UnshardedBytes(models::Module& model) {
  std::vector<size_t> bytes;
  for (const FsdpModule* unit : FsdpUnits(model)) bytes.push_back(unit->flat()->UnshardedBytes());
  return bytes;
}

TEST(UnitMemoryTest, GatheredParametersAreFreed) {
  const auto [model, twin] = NestedModel(OverTheWorld());
  const at::Tensor output = model->Call(InputOf(0, 0, 3));
  const std::vector<size_t> after_forward = UnshardedBytes(*model);
  EXPECT_GT(after_forward[0], 0u);  // the root's stay for backward
  EXPECT_EQ(after_forward[1], 0u);
  EXPECT_EQ(after_forward[2], 0u);
  output.sum().backward();
  EXPECT_THAT(UnshardedBytes(*model), Each(0u));
}

TEST(UnitMixedPrecisionTest, ComputesLowAndKeepsFullShards) {
  FsdpOptions options = OverTheWorld();
  options.mixed_precision.param_dtype = options.mixed_precision.reduce_dtype = at::kHalf;
  const auto [model, twin] = NestedModel(options);
  const at::Tensor output = model->Call(InputOf(World().rank(), 0, 3));
  EXPECT_EQ(output.scalar_type(), at::kHalf);
  output.sum().backward();
  for (const auto& [name, parameter] : models::NamedParameters(*model)) {
    EXPECT_EQ(parameter->value.scalar_type(), at::kFloat) << name;
    EXPECT_EQ(parameter->value.grad().scalar_type(), at::kFloat) << name;
  }
  ExpectParametersOf(*model, *twin);
}

TEST(UnitTest, SyncModuleStatesTakesTheFirstRanksValues) {
  const models::ModulePtr plain = BuildZoo("linear", {{"in", 3}, {"out", 2}});
  plain->RegisterBuffer("buffer", at::full({2}, 7.0));
  const models::ModulePtr twin = models::DeepCopy(*plain);
  if (World().rank() != 0) {
    for (const auto& [name, parameter] : models::NamedParameters(*plain)) parameter->value.detach().fill_(-1);
    plain->buffers()[0].second.fill_(-1);
  }
  FsdpOptions options = OverTheWorld();
  options.sync_module_states = true;
  const auto unit = Wrap(plain, options);
  ExpectParametersOf(*unit, *twin);
  EXPECT_TRUE(at::equal(plain->buffers()[0].second, twin->buffers()[0].second));
}

TEST(SummonTest, WritesBackUnlessToldNotTo) {
  for (bool use_orig_params : {false, true}) {
    FsdpOptions options = OverTheWorld();
    options.use_orig_params = use_orig_params;
    const auto [model, twin] = NestedModel(options);
    {
      const SummonScope scope(*model, {.writeback = false});
      for (const auto& [name, parameter] : models::NamedParameters(*model)) parameter->value.detach().zero_();
    }
    ExpectParametersOf(*model, *twin);
    FillParameters(*model, 2);
    for (const auto& [name, parameter] : models::NamedParameters(*twin)) parameter->value.detach().fill_(2);
    ExpectParametersOf(*model, *twin);
  }
}

TEST(SummonTest, RecursionRank0AndErrors) {
  const auto [model, twin] = NestedModel(OverTheWorld());
  {
    const SummonScope scope(*model, {.recurse = false});
    EXPECT_TRUE(models::FindModule(*model, "1.1")->HasParameter("weight"));
    EXPECT_FALSE(models::FindModule(*model, "0.in_proj")->HasParameter("weight"));
  }
  {
    const SummonScope scope(*model, {.writeback = false, .rank0_only = true});
    EXPECT_EQ(models::FindModule(*model, "0.in_proj")->HasParameter("weight"), World().rank() == 0);
    EXPECT_THAT(ErrorOf([&model = model] { SummonScope(*model, {}); }), HasSubstr("AssertionError: Cannot manually"));
  }
  EXPECT_THAT(ErrorOf([&model = model] { SummonScope(*model, {.rank0_only = true}); }),
              HasSubstr("NotImplementedError"));
  EXPECT_THAT(ErrorOf([&model = model] { SummonScope(*model, {.with_grads = true}); }),
              HasSubstr("NotImplementedError"));
}

TEST(SummonTest, GradientsComeWithThem) {
  FsdpOptions options = OverTheWorld();
  options.use_orig_params = true;
  const auto [model, twin] = NestedModel(options);
  model->Call(InputOf(0, 0, 3)).sum().backward();
  twin->Call(InputOf(0, 0, 3)).sum().backward();
  const SummonScope scope(*model, {.with_grads = true});
  const auto actual = models::NamedParameters(*model);
  const auto expected = models::NamedParameters(*twin);
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_TRUE(at::allclose(actual[i].second->value.grad(), expected[i].second->value.grad(), 1e-5, 1e-6));
  }
}

TEST(AutoWrapTest, PoliciesChooseUnits) {
  const auto count = [](AutoWrapPolicy policy) {
    FsdpOptions options = OverTheWorld();
    options.auto_wrap_policy = std::move(policy);
    return FsdpUnits(*Wrap(BuildZoo("nested_mlp", {{"dim", 3}}), options)).size();
  };
  EXPECT_EQ(count({AutoWrapPolicy::Kind::kModuleClasses, {"MLP"}}), 4u);
  EXPECT_EQ(count({AutoWrapPolicy::Kind::kLambda, {"0", "1.1"}}), 3u);
  EXPECT_EQ(count({AutoWrapPolicy::Kind::kAlways}), 12u);            // 11 modules below the root
  EXPECT_EQ(count({AutoWrapPolicy::Kind::kSizeBased, {}, 87}), 4u);  // an MLP has 87 elements
  EXPECT_EQ(count({AutoWrapPolicy::Kind::kSizeBased, {}, 10000}), 1u);
}

}  // namespace
}  // namespace shardcts::reference
