// Parallel layers compared with their unsharded reference layers.
#include "parallel/parallelize.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/testing/rank_tests.h"
#include "models/mlp.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using models::ModulePtr;

std::shared_ptr<DeviceMesh> Mesh() { return DeviceMesh::Create(World(), "cpu", {World().size()}, {"tp"}); }

ParallelPlan MlpPlan() {
  return {{"*.in_proj", ParallelStyle::kColwise}, {"*.out_proj", ParallelStyle::kRowwise}};
}

// Same values on every rank; all gradients required.
ModulePtr Build(int64_t dim) {
  at::manual_seed(7);
  ModulePtr model = models::BuildMlpSequence(dim, 3, at::kCPU);
  for (const auto& [name, parameter] : models::NamedParameters(*model)) parameter->value.set_requires_grad(true);
  return model;
}

at::Tensor Input(const std::vector<int64_t>& shape) {
  at::manual_seed(11);
  return at::randn(shape).set_requires_grad(true);
}

// A parameter (or its gradient) as the full tensor.
at::Tensor Whole(const models::Parameter& parameter, const at::Tensor& local) {
  return FullTensor(WithDistribution(*FindDistribution(parameter), local));
}

struct PlacementsOf {
  models::Module& model;
  std::string operator()(const std::string& path, const std::string& name) const {
    return ToString(FindDistribution(*models::FindModule(model, path)->parameter(name))->placements);
  }
};

TEST(ParallelizeTest, ParametersBecomeDTensorsOfTheRightPlacement) {
  const ModulePtr model = Build(6);
  EXPECT_TRUE(Parallelize(*model, Mesh(), MlpPlan()).empty());
  const PlacementsOf placements{*model};
  EXPECT_EQ(placements("1.in_proj", "weight"), "[S(0)]");
  EXPECT_EQ(placements("1.in_proj", "bias"), "[S(0)]");
  EXPECT_EQ(placements("1.out_proj", "weight"), "[S(1)]");
  EXPECT_EQ(placements("1.out_proj", "bias"), "[R]");
  EXPECT_EQ(models::FindModule(*model, "1.in_proj")->type_name(), "Linear");
}

TEST(ParallelizeTest, NamesAndWholeValuesStay) {
  const ModulePtr twin = Build(5);  // 20 hidden features divide evenly; the output of 5 is not split
  const ModulePtr model = Build(5);
  Parallelize(*model, Mesh(), MlpPlan());
  const auto expected = models::NamedParameters(*twin), actual = models::NamedParameters(*model);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].first, expected[i].first);
    EXPECT_TRUE(at::equal(Whole(*actual[i].second, actual[i].second->value), expected[i].second->value));
  }
}

TEST(ParallelizeTest, WhatIsFrozenStaysFrozen) {
  const ModulePtr model = Build(4);
  const auto weight = models::FindModule(*model, "1.in_proj")->parameter("weight");
  weight->value.set_requires_grad(false);
  Parallelize(*model, Mesh(), MlpPlan());
  EXPECT_FALSE(models::FindModule(*model, "1.in_proj")->parameter("weight")->value.requires_grad());
  EXPECT_TRUE(models::FindModule(*model, "1.in_proj")->parameter("bias")->value.requires_grad());
}

TEST(ParallelizeTest, ValuesAreThoseOfTheFirstRank) {
  const ModulePtr twin = Build(4), model = Build(4);
  for (const auto& [name, parameter] : models::NamedParameters(*model)) {
    at::NoGradGuard no_grad;
    parameter->value.add_(World().rank());
  }
  Parallelize(*model, Mesh(), MlpPlan());
  const auto& weight = *models::FindModule(*model, "0.in_proj")->parameter("weight");
  const auto& expected = *models::FindModule(*twin, "0.in_proj")->parameter("weight");
  EXPECT_TRUE(at::equal(Whole(weight, weight.value), expected.value));
}

// 7 features cut unevenly over 2 and 4 ranks (the hidden layer has 28, cut evenly).
TEST(ParallelizeTest, ForwardAndGradientsEqualTheTwins) {
  const ModulePtr twin = Build(7), model = Build(7);
  Parallelize(*model, Mesh(), MlpPlan());
  const at::Tensor twin_input = Input({2, 3, 7}), input = Input({2, 3, 7});
  const at::Tensor expected = twin->Call(twin_input), output = model->Call(input);
  EXPECT_TRUE(at::allclose(output, expected, 1e-5, 1e-6));
  expected.pow(2).sum().backward();
  output.pow(2).sum().backward();
  EXPECT_TRUE(at::allclose(input.grad(), twin_input.grad(), 1e-4, 1e-5));
  const auto all = models::NamedParameters(*model), all_expected = models::NamedParameters(*twin);
  for (size_t i = 0; i < all.size(); ++i) {
    const models::Parameter& parameter = *all[i].second;
    ASSERT_TRUE(parameter.value.grad().defined()) << all[i].first;
    const at::Tensor gradient = Whole(parameter, parameter.value.grad());
    EXPECT_TRUE(at::allclose(gradient, all_expected[i].second->value.grad(), 1e-4, 1e-5)) << all[i].first;
  }
}

TEST(ParallelizeTest, UnevenFeaturesAndRanksWithoutAny) {
  at::manual_seed(3);
  const auto plain = std::make_shared<models::Linear>(4, 3, true, at::kCPU);
  const ModulePtr model = std::make_shared<models::Sequential>(std::vector<ModulePtr>{plain});
  const at::Tensor input = Input({2, 4});
  const at::Tensor expected = plain->Call(input);
  const auto mesh = Mesh();
  Parallelize(*model, mesh, {{"0", ParallelStyle::kColwise}});
  const at::Tensor output = model->Call(input);
  const DTensor whole = MakeDTensor(output.detach(), mesh, {Placement::Shard(1)}, {2, 3});
  EXPECT_TRUE(at::allclose(FullTensor(whole), expected, 1e-5, 1e-6));
}

TEST(ParallelizeTest, SequenceParallelLayerNorm) {
  const auto twin = std::make_shared<models::LayerNorm>(6, true, at::kCPU);
  const auto plain = std::make_shared<models::LayerNorm>(6, true, at::kCPU);
  for (const auto& layer : {twin, plain}) {
    for (const auto& [name, parameter] : layer->parameters()) parameter->value.set_requires_grad(true);
  }
  const ModulePtr model = std::make_shared<models::Sequential>(std::vector<ModulePtr>{plain});
  const auto mesh = Mesh();
  Parallelize(*model, mesh, {{"0", ParallelStyle::kSequence}});
  const at::Tensor whole_input = Input({2, 8, 6});
  const at::Tensor expected = twin->Call(whole_input);
  const at::Tensor output = model->Call(DistributeTensor(whole_input, mesh, {Placement::Shard(1)}).local);
  const DTensor whole = MakeDTensor(output.detach(), mesh, {Placement::Shard(1)}, {2, 8, 6});
  EXPECT_TRUE(at::allclose(FullTensor(whole), expected, 1e-5, 1e-6));
  expected.pow(3).sum().backward();
  output.pow(3).sum().backward();
  for (const char* name : {"weight", "bias"}) {
    EXPECT_TRUE(at::allclose(model->child("0")->parameter(name)->value.grad(), twin->parameter(name)->value.grad(),
                             1e-4, 1e-4))
        << name;
  }
}

std::string KindOf(models::Module& model, const std::shared_ptr<DeviceMesh>& mesh, const ParallelPlan& plan) {
  try {
    Parallelize(model, mesh, plan);
  } catch (const SemanticError& error) {
    return error.kind();
  }
  return "no error";
}

TEST(ParallelizeTest, ErrorsChangeNothing) {
  const ModulePtr model = Build(4);
  const auto plane = DeviceMesh::Create(World(), "cpu", {1, World().size()}, {"dp", "tp"});
  EXPECT_EQ(KindOf(*model, plane, MlpPlan()), "ValueError");
  const ParallelPlan wrong = {{"0.in_proj", ParallelStyle::kColwise}, {"1", ParallelStyle::kRowwise}};
  EXPECT_EQ(KindOf(*model, plane->Submesh({"tp"}), wrong), "NotImplementedError");
  EXPECT_EQ(FindDistribution(*models::FindModule(*model, "0.in_proj")->parameter("weight")), nullptr);
  EXPECT_EQ(KindOf(*model, plane->Submesh({"tp"}), {{"0.in_proj", ParallelStyle::kSequence}}), "NotImplementedError");
  EXPECT_THROW(ParseParallelStyle("diagonal"), SemanticError);
}

TEST(ParallelizeTest, APathThatNamesNothingIsAWarning) {
  const ModulePtr model = Build(4);
  const std::vector<std::string> warnings = Parallelize(*model, Mesh(), {{"0.nobody", ParallelStyle::kColwise}});
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], testing::HasSubstr("'0.nobody'"));
}

}  // namespace
}  // namespace shardcts::reference
