#include "optim/optimizer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts::reference {
namespace {

using ::testing::ElementsAre;

using Values = std::vector<float>;

models::ParameterPtr MakeParameter(const Values& values) {
  at::Tensor tensor = at::tensor(values);
  tensor.set_requires_grad(true);
  return std::make_shared<models::Parameter>(models::Parameter{tensor, nullptr});
}

// Two steps from (1, -2, 0.5) with fixed gradients.
Values AfterTwoSteps(const models::ParameterPtr& parameter, Optimizer& optimizer) {
  for (const Values& grad : {Values{0.1f, 0.2f, -0.3f}, Values{0.4f, -0.5f, 0.6f}}) {
    parameter->value.mutable_grad() = at::tensor(grad);
    optimizer.Step();
  }
  const at::Tensor after = parameter->value.detach();
  return Values(after.data_ptr<float>(), after.data_ptr<float>() + after.numel());
}

// The expected bits were made by torch.optim 2.13 with the same hyperparameters on the CPU.
TEST(OptimizerTest, SgdWithMomentumAndWeightDecayGivesPyTorchsBits) {
  const models::ParameterPtr parameter = MakeParameter({1.0f, -2.0f, 0.5f});
  const auto optimizer = MakeSgd({parameter}, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  EXPECT_THAT(AfterTwoSteps(parameter, *optimizer), ElementsAre(0x1.e05016p-1f, -0x1.fb7046p+0f, 0x1.fb69bap-2f));
}

TEST(OptimizerTest, AdamGivesPyTorchsBits) {
  const models::ParameterPtr parameter = MakeParameter({1.0f, -2.0f, 0.5f});
  const auto optimizer =
      MakeAdam({parameter}, {.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.1});
  EXPECT_THAT(AfterTwoSteps(parameter, *optimizer), ElementsAre(0x1.f5fe74p-1f, -0x1.fe0394p+0f, 0x1.028af8p-1f));
}

TEST(OptimizerTest, AdamWGivesPyTorchsBits) {
  const models::ParameterPtr parameter = MakeParameter({1.0f, -2.0f, 0.5f});
  const auto optimizer =
      MakeAdam({parameter}, {.lr = 0.01, .weight_decay = 0.1, .decoupled_weight_decay = true});
  EXPECT_THAT(AfterTwoSteps(parameter, *optimizer), ElementsAre(0x1.f5556ap-1f, -0x1.003372p+1f, 0x1.02ba8cp-1f));
}

TEST(OptimizerTest, SkipsParametersWithoutGradientAndStepsEmptyOnes) {
  const models::ParameterPtr idle = MakeParameter({1.0f});
  const models::ParameterPtr empty = MakeParameter({});
  empty->value.mutable_grad() = at::empty({0});
  const auto optimizer = MakeAdam({idle, empty}, {});
  optimizer->Step();
  EXPECT_EQ(idle->value.item<float>(), 1.0f);
}

TEST(OptimizerTest, ZeroGradDropsGradients) {
  const models::ParameterPtr parameter = MakeParameter({1.0f});
  parameter->value.mutable_grad() = at::ones({1});
  MakeSgd({parameter}, {})->ZeroGrad();
  EXPECT_FALSE(parameter->value.grad().defined());
}

}  // namespace
}  // namespace shardcts::reference
