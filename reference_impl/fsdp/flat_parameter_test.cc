// The shard of a unit's parameters on each rank, compared with chunks of the reference model's concatenated parameters.
#include "fsdp/testing/units_against_unsharded.h"
#include "parameter/flat_slice.h"

namespace shardcts::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// torch.cat of the flattened parameters, torch.chunk of it, padded with zeros to the first chunk's length.
at::Tensor ExpectedShard(const std::vector<at::Tensor>& parameters) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& parameter : parameters) flat.push_back(parameter.detach().reshape({-1}));
  const at::Tensor whole = at::cat(flat);
  const std::vector<at::Tensor> chunks = whole.chunk(World().size());
  const size_t rank = World().rank();
  const at::Tensor mine = rank < chunks.size() ? chunks[rank] : whole.narrow(0, 0, 0);
  return at::constant_pad_nd(mine, {0, chunks[0].numel() - mine.numel()});
}

TEST(FlatParameterTest, EveryRankKeepsItsChunkOfTheConcatenatedParameters) {
  const auto [model, twin] = NestedModel(OverTheWorld());
  const std::vector<FsdpModule*> units = FsdpUnits(*model);
  ASSERT_EQ(units.size(), 3u);
  const auto parameters_below = [&twin = twin](const std::string& path) {
    std::vector<at::Tensor> values;
    for (const auto& [name, parameter] : models::NamedParameters(*models::FindModule(*twin, path))) {
      values.push_back(parameter->value);
    }
    return values;
  };
  EXPECT_TRUE(at::equal(units[0]->flat()->shard(), ExpectedShard(parameters_below("1"))));
  EXPECT_TRUE(at::equal(units[1]->flat()->shard(), ExpectedShard(parameters_below("0"))));
  EXPECT_TRUE(at::equal(units[2]->flat()->shard(), ExpectedShard(parameters_below("2"))));
}

TEST(FlatParameterTest, ParametersAreTheFlatOnesOrLocalSlices) {
  const auto flat = NestedModel(OverTheWorld());
  std::vector<std::string> names;
  for (const auto& [name, parameter] : models::NamedParameters(*flat.model)) {
    names.push_back(name);
    EXPECT_EQ(parameter->value.dim(), 1);
  }
  EXPECT_THAT(names, ElementsAre("_flat_param", "0._flat_param", "2._flat_param"));

  FsdpOptions options = OverTheWorld();
  options.use_orig_params = true;
  const auto original = NestedModel(options);
  const auto expected = models::NamedParameters(*original.twin);
  const auto actual = models::NamedParameters(*original.model);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].first, expected[i].first);
    const FlatSliceDistribution* slice = FindFlatSlice(*actual[i].second);
    ASSERT_NE(slice, nullptr);
    const at::Tensor& local = actual[i].second->value;
    const at::Tensor whole = expected[i].second->value.detach().reshape({-1});
    EXPECT_TRUE(at::equal(local.detach(), whole.narrow(0, slice->begin, local.numel()))) << actual[i].first;
  }
}

TEST(FlatParameterTest, AlignmentPutsABatchNormOnOneRankEach) {
  if (World().size() != 2) GTEST_SKIP() << "worked out for two ranks";
  FsdpOptions options = OverTheWorld();
  options.use_orig_params = true;
  const auto unit = Wrap(BuildZoo("uneven_parameters", {{"shapes", List{List{10}, List{10}}}}), options);
  const FlattenLayout& layout = unit->flat()->layout();
  EXPECT_EQ(layout.numel, 22);
  std::vector<int64_t> numels;
  for (const auto& [name, parameter] : models::NamedParameters(*unit)) numels.push_back(parameter->value.numel());
  if (World().rank() == 0) {
    EXPECT_THAT(numels, ElementsAre(10, 0));
    EXPECT_EQ(unit->flat()->shard()[10].item<float>(), 42);
  } else {
    EXPECT_THAT(numels, ElementsAre(0, 10));
  }
}

TEST(FlatParameterTest, ATiedParameterIsStoredOnce) {
  const models::ModulePtr plain = BuildZoo("transformer", Dict{});
  const auto unique = models::NamedParameters(*plain);
  int64_t numel = 0;
  for (const auto& [name, parameter] : unique) numel += parameter->value.numel();
  const auto unit = Wrap(plain, OverTheWorld());
  EXPECT_EQ(unit->flat()->layout().numel, numel);
  ASSERT_EQ(unit->flat()->shared_slots().size(), 1u);
  EXPECT_EQ(unit->flat()->shared_slots().front().fqn, "output.weight");
  EXPECT_EQ(unit->flat()->primary_slots()[unit->flat()->shared_slots().front().parameter].fqn, "tok_embeddings.weight");
}

TEST(FlatParameterTest, IgnoredModulesAndStatesStayAsTheyAre) {
  const models::ModulePtr plain = BuildZoo("nested_mlp", {{"dim", 3}});
  FsdpOptions options = OverTheWorld();
  options.ignored_modules = {models::FindModule(*plain, "1")};
  options.ignored_parameters = {models::FindModule(*plain, "0.in_proj")->parameter("bias")};
  const void* const storage = models::FindModule(*plain, "1.1")->parameter("weight")->value.data_ptr();
  const auto unit = Wrap(plain, options);
  EXPECT_EQ(models::FindModule(*unit, "1.1")->parameter("weight")->value.data_ptr(), storage);
  EXPECT_TRUE(models::FindModule(*unit, "0.in_proj")->HasParameter("bias"));
  for (const FlatParameter::Slot& slot : unit->flat()->primary_slots()) {
    EXPECT_THAT(slot.fqn, ::testing::AnyOf(::testing::StartsWith("0."), ::testing::StartsWith("2.")));
    EXPECT_NE(slot.fqn, "0.in_proj.bias");
  }
}

TEST(FlatParameterTest, AUnitMayOwnNothing) {
  const models::ModulePtr plain = BuildZoo("linear", {{"in", 2}, {"out", 2}});
  FsdpOptions options = OverTheWorld();
  options.ignored_modules = {plain.get()};
  const auto unit = Wrap(plain, options);
  EXPECT_EQ(unit->flat(), nullptr);
  EXPECT_EQ(unit->Call(at::ones({1, 2})).sizes(), at::IntArrayRef({1, 2}));
}

TEST(FlatParameterTest, WhatCannotBeFlattenedIsRefused) {
  const models::ModulePtr scalar = BuildZoo("uneven_parameters", {{"shapes", List{List{}}}});
  EXPECT_THAT(ErrorOf([&] { Wrap(scalar, OverTheWorld()); }), HasSubstr("ValueError: FSDP doesn't support scalar"));
  const models::ModulePtr mixed = BuildZoo("linear", {{"in", 2}, {"out", 2}});
  mixed->parameter("bias")->value.set_requires_grad(false);
  EXPECT_THAT(ErrorOf([&] { Wrap(mixed, OverTheWorld()); }),
              HasSubstr("ValueError: Must flatten tensors with uniform"));
  FsdpOptions options = OverTheWorld();
  options.use_orig_params = true;
  const auto unit = Wrap(mixed, options);
  EXPECT_FALSE(mixed->parameter("bias")->value.requires_grad());
  EXPECT_TRUE(mixed->parameter("weight")->value.requires_grad());
}

TEST(FlatParameterTest, HalfAndToReachTheShards) {
  for (bool use_orig_params : {false, true}) {
    FsdpOptions options = OverTheWorld();
    options.use_orig_params = use_orig_params;
    const auto [model, twin] = NestedModel(options);
    ApplyToTensors(*model, [](const at::Tensor& tensor) { return tensor.to(at::kHalf); });
    ApplyToTensors(*twin, [](const at::Tensor& tensor) { return tensor.to(at::kHalf); });
    for (const auto& [name, parameter] : models::NamedParameters(*model)) {
      EXPECT_EQ(parameter->value.scalar_type(), at::kHalf) << name;
    }
    ExpectParametersOf(*model, *twin);
  }
}

}  // namespace
}  // namespace shardcts::reference
