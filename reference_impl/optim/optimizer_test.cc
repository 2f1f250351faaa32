#include "optim/optimizer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "optim/named_optimizer.h"
#include "tensor/testing/error_of.h"

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

models::ParameterPtr WithGradient(const Values& values) {
  const models::ParameterPtr parameter = MakeParameter(values);
  parameter->value.mutable_grad() = at::ones_like(parameter->value.detach());
  return parameter;
}

std::unique_ptr<Optimizer> AdamOfTwoGroups(const std::vector<models::ParameterPtr>& parameters) {
  std::vector<OptimizerGroup> groups{{{parameters.at(0)}, {{"weight_decay", 0.9}}}, {{parameters.at(1)}, {}}};
  return std::make_unique<Optimizer>(MakeAdamRule({.lr = 0.01}), std::move(groups));
}

std::vector<std::string> StateKeys(const Dict& state_dict) { return state_dict.At("state").AsDict().Keys(); }

TEST(OptimizerStateTest, IdsGoOnOverGroupsAndOptionsAreThoseOfTheGroup) {
  const auto optimizer = AdamOfTwoGroups({WithGradient({1}), WithGradient({2, 3})});
  optimizer->Step();
  const Dict saved = optimizer->StateDict();
  EXPECT_THAT(StateKeys(saved), ElementsAre("0", "1"));
  const List& groups = saved.At("param_groups").AsList();
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].AsDict().At("weight_decay").AsDouble(), 0.9);
  EXPECT_EQ(groups[1].AsDict().At("weight_decay").AsDouble(), 0);
  EXPECT_THAT(groups[0].AsDict().At("params").AsInts(), ElementsAre(0));
  EXPECT_THAT(groups[1].AsDict().At("params").AsInts(), ElementsAre(1));
  EXPECT_THAT(groups[1].AsDict().Keys(),
              ElementsAre("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "foreach", "capturable",
                          "differentiable", "fused", "decoupled_weight_decay", "params"));
  const Dict& state = saved.At("state").AsDict().At(int64_t{1}).AsDict();
  EXPECT_THAT(state.Keys(), ElementsAre("step", "exp_avg", "exp_avg_sq"));
  EXPECT_EQ(state.At("step").AsTensor().dim(), 0);
  EXPECT_EQ(state.At("step").AsTensor().item<float>(), 1);
}

TEST(OptimizerStateTest, SgdHasStateOnlyWithMomentum) {
  const models::ParameterPtr parameter = WithGradient({1, 2});
  const auto plain = MakeSgd({parameter}, {.lr = 0.1});
  plain->Step();
  EXPECT_TRUE(plain->StateDict().At("state").AsDict().empty());
  const auto momentum = MakeSgd({parameter}, {.lr = 0.1, .momentum = 0.9});
  momentum->Step();
  const Dict state_dict = momentum->StateDict();
  EXPECT_THAT(state_dict.At("state").AsDict().At(int64_t{0}).AsDict().Keys(), ElementsAre("momentum_buffer"));
}

TEST(OptimizerStateTest, ALoadedOptimizerGoesOnLikeTheOneThatWasSaved) {
  const models::ParameterPtr saved_parameter = MakeParameter({1.0f, -2.0f, 0.5f});
  const auto saved = MakeAdam({saved_parameter}, {.lr = 0.01});
  AfterTwoSteps(saved_parameter, *saved);
  const models::ParameterPtr parameter = MakeParameter({});
  parameter->value = saved_parameter->value.detach().clone().set_requires_grad(true);
  const auto loaded = MakeAdam({parameter}, {.lr = 5});
  Dict copy = saved->StateDict();
  for (auto& [name, value] : copy.Find("state")->AsDict().Find(int64_t{0})->AsDict()) value = value.AsTensor().clone();
  loaded->LoadStateDict(copy);
  EXPECT_EQ(AfterTwoSteps(parameter, *loaded), AfterTwoSteps(saved_parameter, *saved));
}

TEST(OptimizerStateTest, KeepsStateThatItDoesNotKnow) {
  const models::ParameterPtr parameter = WithGradient({1});
  const auto optimizer = MakeAdam({parameter}, {});
  optimizer->Step();
  Dict changed = optimizer->StateDict();
  Dict& state = changed.Find("state")->AsDict();
  state.Find(int64_t{0})->AsDict().Set("mine", 2.74);
  state.Set("of nobody", Dict{{"count", 3}});
  optimizer->LoadStateDict(changed);
  optimizer->Step();
  const Dict saved = optimizer->StateDict();
  EXPECT_EQ(saved.At("state").AsDict().At(int64_t{0}).AsDict().At("mine").AsDouble(), 2.74);
  EXPECT_EQ(saved.At("state").AsDict().At("of nobody").AsDict().At("count").AsInt(), 3);
}

TEST(OptimizerStateTest, CompleteStateIsThatOfEveryParameterBesideStateOfNone) {
  const auto optimizer = MakeAdam({WithGradient({1}), WithGradient({2})}, {});
  optimizer->Step();
  Dict changed = optimizer->StateDict();
  Dict& state = changed.Find("state")->AsDict();
  state.Erase(int64_t{1});
  state.Set("of nobody", Dict{{"count", 3}});
  optimizer->LoadStateDict(changed);
  const Dict complete = optimizer->CompleteState();
  EXPECT_TRUE(complete.Contains(int64_t{1}));
  EXPECT_TRUE(complete.Contains("of nobody"));
}

TEST(OptimizerStateTest, RefusesStateDictsOfOtherGroups) {
  const models::ParameterPtr first = WithGradient({1});
  const models::ParameterPtr second = WithGradient({2});
  const auto one_group = MakeAdam({first, second}, {});
  const auto one_parameter = MakeAdam({first}, {});
  EXPECT_EQ(ErrorOf([&] { one_group->LoadStateDict(AdamOfTwoGroups({first, second})->StateDict()); }),
            "ValueError: loaded state dict has a different number of parameter groups");
  EXPECT_EQ(ErrorOf([&] { one_group->LoadStateDict(one_parameter->StateDict()); }),
            "ValueError: loaded state dict contains a parameter group that doesn't match the size of optimizer's group");
  EXPECT_EQ(ErrorOf([&] { one_group->LoadStateDict({{"state", Dict{}}}); }), "KeyError: 'param_groups'");
  EXPECT_EQ(ErrorOf([&] { AdamOfTwoGroups({first, first}); }),
            "ValueError: some parameters appear in more than one parameter group");
}

TEST(OptimizerStateTest, InitStateGivesEveryTrainableParameterState) {
  const models::ParameterPtr frozen = MakeParameter({1});
  frozen->value.set_requires_grad(false);
  const auto optimizer = MakeAdam({MakeParameter({}), frozen, MakeParameter({1, 2})}, {});
  optimizer->InitState();
  EXPECT_THAT(StateKeys(optimizer->StateDict()), ElementsAre("0", "2"));
}

std::unique_ptr<NamedOptimizer> NamedSgd(const models::ParameterPtr& b, const models::ParameterPtr& a) {
  std::vector<OptimizerGroup> groups{{{b, a}, {}}};
  return std::make_unique<NamedOptimizer>(MakeSgdRule({.lr = 1, .momentum = 0.5}), std::move(groups),
                                          std::vector<std::string>{"b", "a"});
}

TEST(NamedOptimizerTest, KeysAreNamesAndParamsAreSorted) {
  const auto optimizer = NamedSgd(WithGradient({1}), WithGradient({2}));
  optimizer->Step();
  const Dict saved = optimizer->StateDict();
  EXPECT_THAT(StateKeys(saved), ElementsAre("b", "a"));
  EXPECT_THAT(saved.At("param_groups").AsList().at(0).AsDict().At("params").AsStrings(), ElementsAre("a", "b"));
}

TEST(NamedOptimizerTest, LoadsInPlaceAndByName) {
  const auto optimizer = NamedSgd(WithGradient({1}), WithGradient({2}));
  optimizer->Step();
  const at::Tensor buffer =
      optimizer->StateDict().At("state").AsDict().At("a").AsDict().At("momentum_buffer").AsTensor();
  Dict given = optimizer->StateDict();
  given.Set("state", Dict{{"a", Dict{{"momentum_buffer", at::full({1}, 7.0f)}}}});
  given.Find("param_groups")->TryAs<List>()->at(0).AsDict().Set("lr", 3.0);
  optimizer->LoadStateDict(given);
  EXPECT_EQ(buffer.item<float>(), 7);
  const Dict loaded = optimizer->StateDict();
  EXPECT_EQ(loaded.At("param_groups").AsList().at(0).AsDict().At("lr").AsDouble(), 3);
  EXPECT_EQ(loaded.At("state").AsDict().At("b").AsDict().At("momentum_buffer").AsTensor().item<float>(), 1);
}

TEST(NamedOptimizerTest, RefusesWhatDoesNotFit) {
  const auto fresh = NamedSgd(WithGradient({1}), WithGradient({2}));
  const Dict empty = fresh->StateDict();
  EXPECT_THAT(ErrorOf([&] { fresh->LoadStateDict(empty); }), ::testing::StartsWith("ValueError: Expects the optim"));
  fresh->Step();
  Dict given = fresh->StateDict();
  given.Set("state", Dict{{"a", Dict{{"other", 1}}}});
  EXPECT_EQ(ErrorOf([&] { fresh->LoadStateDict(given); }),
            "ValueError: Expects state momentum_buffer for parameter a but not found.");
  given.Set("state", Dict{{"a", Dict{}}});
  EXPECT_EQ(ErrorOf([&] { fresh->LoadStateDict(given); }),
            "ValueError: Expects equal length as 1 for parameter a but found: 0");
}

}  // namespace
}  // namespace shardcts::reference
