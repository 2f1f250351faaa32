// The optimizer state of a model has the names and values of the plain reference model, however the model is wrapped,
// and can be loaded in every form.
#include "dsd/testing/states_against_unsharded.h"

namespace shardcts::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::unique_ptr<Optimizer> NewAdam(models::Module& model) { return MakeAdam(ParametersOf(model), {.lr = 0.01}); }

class OptimizerStateTest : public testing::TestWithParam<WrappingCase> {
 protected:
  OptimizerStateTest()
      : twin_(BuildZoo("nested_mlp", {{"dim", 3}})), model_(Wrapped(models::DeepCopy(*twin_), GetParam().wrapping)),
        twin_optimizer_(NewAdam(*twin_)), optimizer_(NewAdam(*model_)) {}

  Dict TwinState() { return GetOptimizer(*twin_, *twin_optimizer_); }

  // `actual`: full tensors.
  void ExpectState(const Dict& actual, const Dict& expected, double tolerance = kSumOrderTolerance) {
    const Dict& state = actual.At("state").AsDict();
    EXPECT_THAT(state.Keys(), testing::UnorderedElementsAreArray(expected.At("state").AsDict().Keys()));
    for (const auto& [name, entries] : expected.At("state").AsDict()) {
      SCOPED_TRACE(ToString(name));
      ExpectSameTensors(state.At(name).AsDict(), entries.AsDict(), tolerance);
    }
  }

  // After each way to save and to load, a fresh optimizer has the same state as the one that was trained.
  void ExpectGoesBack(const StateDictOptions& save, const StateDictOptions& load) {
    const Dict saved = GetOptimizer(*model_, *optimizer_, save);
    const auto fresh = NewAdam(*model_);
    fresh->SetOption(0, "lr", 0.5);
    SetOptimizer(*model_, *fresh, saved, load);
    ExpectState(GetOptimizer(*model_, *fresh, kFull), GetOptimizer(*model_, *optimizer_, kFull), 0);
    EXPECT_EQ(fresh->groups()[0].options.At("lr").AsDouble(), 0.01);
  }

  models::ModulePtr twin_;
  models::ModulePtr model_;
  std::unique_ptr<Optimizer> twin_optimizer_;
  std::unique_ptr<Optimizer> optimizer_;
};

INSTANTIATE_TEST_SUITE_P(All, OptimizerStateTest, testing::ValuesIn(AllWrappings()),
                         [](const auto& info) { return info.param.name; });

TEST_P(OptimizerStateTest, AFullStateDictIsTheTwins) {
  TrainEqually(*model_, *optimizer_, *twin_, *twin_optimizer_);
  const Dict saved = GetOptimizer(*model_, *optimizer_, kFull);
  ExpectState(saved, TwinState());
  const List groups = saved.At("param_groups").AsList();
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_THAT(groups[0].AsDict().At("params").AsStrings(),
              testing::UnorderedElementsAreArray(TwinState().At("state").AsDict().Keys()));
}

TEST_P(OptimizerStateTest, WithCpuOffloadAFullStateDictIsOnRank0) {
  TrainEqually(*model_, *optimizer_, *twin_, *twin_optimizer_);
  const Dict saved = GetOptimizer(*model_, *optimizer_, kFullOnCpu);
  const Dict expected = TwinState();  // collective
  if (World().rank() != 0) {
    EXPECT_TRUE(saved.empty());
  } else {
    ExpectState(saved, expected);
  }
}

TEST_P(OptimizerStateTest, NeverSteppedGetsItsInitialStateAndTheModelStays) {
  const Dict before = Copied(GetModel(*model_, kFull));
  const Dict saved = GetOptimizer(*model_, *optimizer_, kFull);
  for (const auto& [name, state] : saved.At("state").AsDict()) {
    EXPECT_EQ(state.AsDict().At("step").AsTensor().item<float>(), 1) << ToString(name);
    EXPECT_FALSE(state.AsDict().At("exp_avg").AsTensor().any().item<bool>()) << ToString(name);
  }
  ExpectSameTensors(GetModel(*model_, kFull), before);
  EXPECT_EQ(optimizer_->groups()[0].options.At("lr").AsDouble(), 0.01);
  for (const auto& parameter : ParametersById(*optimizer_)) EXPECT_FALSE(parameter->value.grad().defined());
}

TEST_P(OptimizerStateTest, GoesBackInPieces) {
  TrainEqually(*model_, *optimizer_, *twin_, *twin_optimizer_);
  ExpectGoesBack({}, {});
  ExpectGoesBack({.flatten_optimizer_state_dict = true}, {});
}

TEST_P(OptimizerStateTest, GoesBackWhole) {
  TrainEqually(*model_, *optimizer_, *twin_, *twin_optimizer_);
  ExpectGoesBack(kFull, kFull);
  ExpectGoesBack({.full_state_dict = true, .flatten_optimizer_state_dict = true}, kFull);
}

TEST_P(OptimizerStateTest, GoesBackFromRank0) {
  TrainEqually(*model_, *optimizer_, *twin_, *twin_optimizer_);
  ExpectGoesBack(kFullOnCpu, kFromRank0);
}

TEST_P(OptimizerStateTest, LoadingLeavesTheStateDictAsItWas) {
  TrainEqually(*model_, *optimizer_, *twin_, *twin_optimizer_);
  const Dict saved = GetOptimizer(*model_, *optimizer_, kFull);
  const Dict before = Copied(saved.At("state").AsDict());
  const auto fresh = NewAdam(*model_);
  SetOptimizer(*model_, *fresh, saved, kFull);
  StepSharded(*model_, *fresh, InputOf(0, 1, 3));
  for (const auto& [name, entries] : before) {
    ExpectSameTensors(saved.At("state").AsDict().At(name).AsDict(), entries.AsDict());
  }
}

TEST_P(OptimizerStateTest, MissingStateIsAnErrorOnEveryRank) {
  TrainEqually(*model_, *optimizer_, *twin_, *twin_optimizer_);
  for (const StateDictOptions& options : {kFull, kFromRank0}) {
    Dict saved = GetOptimizer(*model_, *optimizer_, kFull);
    saved.Find("state")->AsDict().Erase("0.in_proj.weight");
    const bool has_it = !options.broadcast_from_rank0 || World().rank() == 0;
    const std::string error =
        ErrorOf([&] { SetOptimizer(*model_, *optimizer_, has_it ? saved : Dict{}, options); });
    EXPECT_THAT(error, StartsWith("RuntimeError"));
    EXPECT_THAT(error, HasSubstr("Missing optimizer state for parameter '0.in_proj.weight'"));
  }
}

TEST_P(OptimizerStateTest, WhatAGroupHasBesidesReachesEveryRank) {
  optimizer_->SetOption(0, "initial_lr", 0.25);
  const Dict saved = GetOptimizer(*model_, *optimizer_, kFullOnCpu);
  const auto fresh = NewAdam(*model_);
  SetOptimizer(*model_, *fresh, saved, kFromRank0);
  ASSERT_TRUE(fresh->groups()[0].options.Contains("initial_lr"));
  EXPECT_EQ(fresh->groups()[0].options.At("initial_lr").AsDouble(), 0.25);
}

// The first half of a model's parameters, and the rest.
std::vector<std::unique_ptr<Optimizer>> TwoOptimizers(models::Module& model) {
  const std::vector<models::ParameterPtr> all = ParametersOf(model);
  const auto middle = all.begin() + static_cast<int64_t>(all.size() / 2);
  std::vector<std::unique_ptr<Optimizer>> two;
  two.push_back(MakeAdam({all.begin(), middle}, {.lr = 0.01}));
  two.push_back(MakeAdam({middle, all.end()}, {.lr = 0.02}));
  return two;
}

TEST_P(OptimizerStateTest, SeveralOptimizersAreOneStateDict) {
  const auto save = TwoOptimizers(*model_);
  Warnings warnings;
  if (GetParam().name.starts_with("SlicedUnits")) {  // each optimizer owns a part of a unit
    EXPECT_THROW(GetOptimizerStateDict(*model_, {save[0].get(), save[1].get()}, {}, Here(warnings)), SemanticError);
    return;
  }
  const Dict saved = GetOptimizerStateDict(*model_, {save[0].get(), save[1].get()}, {}, Here(warnings));
  EXPECT_EQ(saved.At("param_groups").AsList().size(), 2u);
  EXPECT_THAT(saved.At("state").AsDict().Keys(),
              testing::UnorderedElementsAreArray(TwinState().At("state").AsDict().Keys()));
  const auto load = TwoOptimizers(*model_);
  load[0]->SetOption(0, "lr", 0.5);
  load[1]->SetOption(0, "lr", 0.5);
  // In the other order: parameters are found by name.
  SetOptimizerStateDict(*model_, {load[1].get(), load[0].get()}, saved, {}, Here(warnings));
  EXPECT_EQ(load[0]->groups()[0].options.At("lr").AsDouble(), 0.01);
  EXPECT_EQ(load[1]->groups()[0].options.At("lr").AsDouble(), 0.02);
}

TEST(OptimizerStateFormsTest, ATiedParameterHasItsFirstName) {
  const models::ModulePtr model = BuildZoo("tied_embedding", {{"vocab", 11}, {"dim", 3}});
  const auto optimizer = NewAdam(*model);
  const Dict saved = GetOptimizer(*model, *optimizer);
  EXPECT_THAT(saved.At("state").AsDict().Keys(), ElementsAre("embedding.weight", "decoder.bias"));
  SetOptimizer(*model, *optimizer, saved);
  SetOptimizer(*model, *optimizer, GetOptimizer(*model, *optimizer, {.flatten_optimizer_state_dict = true}));
  EXPECT_EQ(optimizer->StateDict().At("state").AsDict().size(), 2u);
}

TEST(OptimizerStateFormsTest, FlatKeys) {
  const models::ModulePtr model = BuildZoo("linear", {{"in", 2}, {"out", 2}, {"bias", false}});
  const auto optimizer = MakeSgd(ParametersOf(*model), {.lr = 0.5, .momentum = 0.9});
  const Dict flat = GetOptimizer(*model, *optimizer, {.flatten_optimizer_state_dict = true});
  EXPECT_TRUE(flat.Contains("state.weight.momentum_buffer"));
  EXPECT_EQ(flat.At("param_groups.weight.lr").AsDouble(), 0.5);
  EXPECT_FALSE(flat.Contains("param_groups.weight.params"));
}

TEST(OptimizerStateFormsTest, AFlatStateDictIsReadInTheOrderOfTheOptimizersStateAndLosesNothing) {
  const models::ModulePtr model = BuildZoo("linear", {{"in", 2}, {"out", 2}, {"bias", false}});
  const auto optimizer = NewAdam(*model);
  Dict flat;
  const Dict saved = GetOptimizer(*model, *optimizer, {.flatten_optimizer_state_dict = true});
  std::vector<std::string> keys = saved.Keys();
  std::ranges::sort(keys);
  for (const std::string& key : keys) flat.Set(key, saved.At(key));
  flat.Set("state.weight.more", 1.0);
  SetOptimizer(*model, *optimizer, flat);
  EXPECT_THAT(optimizer->StateDict().At("state").AsDict().At(Key(0)).AsDict().Keys(),
              ElementsAre("step", "exp_avg", "exp_avg_sq", "more"));
}

TEST(OptimizerStateFormsTest, AFlatStateDictThatLacksAnEntryIsAnErrorUnderStrict) {
  const models::ModulePtr model = BuildZoo("linear", {{"in", 2}, {"out", 2}, {"bias", false}});
  const auto optimizer = NewAdam(*model);
  Dict flat = GetOptimizer(*model, *optimizer, {.flatten_optimizer_state_dict = true});
  flat.Erase("state.weight.exp_avg");
  EXPECT_THAT(ErrorOf([&] { SetOptimizer(*model, *optimizer, flat); }),
              StartsWith("RuntimeError: Missing optimizer state for parameter 'weight'"));
}

TEST(OptimizerStateFormsTest, IdsAreLoadedAsTheyAre) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  const auto optimizer = NewAdam(*model);
  optimizer->InitState();
  const auto fresh = NewAdam(*model);
  SetOptimizer(*model, *fresh, optimizer->StateDict());
  EXPECT_EQ(fresh->StateDict().At("state").AsDict().size(), ParametersOf(*model).size());
}

TEST(OptimizerStateFormsTest, LoadedStateSharesNoStorageWithTheStateDict) {
  const models::ModulePtr model = BuildZoo("linear", {{"in", 2}, {"out", 2}, {"bias", false}});
  const auto optimizer = NewAdam(*model);
  optimizer->InitState();
  for (const StateDictOptions& options : {StateDictOptions{}, StateDictOptions{.full_state_dict = true},
                                          StateDictOptions{.flatten_optimizer_state_dict = true}}) {
    const Dict saved = GetOptimizer(*model, *optimizer, options);
    const auto fresh = NewAdam(*model);
    SetOptimizer(*model, *fresh, saved, options);
    for (const auto& [name, value] : fresh->StateDict().At("state").AsDict().At(Key(0)).AsDict()) {
      const Dict before = optimizer->StateDict().At("state").AsDict().At(Key(0)).AsDict();
      EXPECT_NE(value.AsTensor().storage().data(), before.At(name).AsTensor().storage().data()) << ToString(name);
    }
  }
}

TEST(OptimizerStateFormsTest, AnEmptyGroupIsPairedWithTheOneThatIsEmpty) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  const auto make = [&](double lr, size_t empty_groups) {
    std::vector<OptimizerGroup> groups{{ParametersOf(*model), {}}};
    for (size_t i = 0; i < empty_groups; ++i) groups.push_back({{}, Dict{{"lr", lr}}});
    return std::make_unique<Optimizer>(MakeAdamRule(AdamOptions{}), std::move(groups));
  };
  const auto optimizer = make(0.25, 1);
  const auto fresh = make(0.5, 1);
  SetOptimizer(*model, *fresh, GetOptimizer(*model, *optimizer));
  EXPECT_EQ(fresh->groups()[1].options.At("lr").AsDouble(), 0.25);
  const auto none = make(0, 0);
  EXPECT_THAT(ErrorOf([&] { SetOptimizer(*model, *fresh, GetOptimizer(*model, *none)); }), StartsWith("ValueError"));
}

TEST(OptimizerStateFormsTest, RefusesNoOptimizersAndNothingToLoad) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  const auto optimizer = NewAdam(*model);
  Warnings warnings;
  EXPECT_THAT(ErrorOf([&] { GetOptimizerStateDict(*model, {}, {}, Here(warnings)); }), StartsWith("RuntimeError"));
  EXPECT_THAT(ErrorOf([&] { SetOptimizer(*model, *optimizer, {}); }), StartsWith("RuntimeError"));
}

}  // namespace
}  // namespace shardcts::reference
