// Saving gives the state of the unsharded reference model; loading gives the state that the optimizer has.
#include "fsdp_optim/testing/optim_state_against_unsharded.h"

#include "fsdp_optim/rekey.h"

namespace shardcts::reference {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct OptimCase {
  std::string name;
  bool use_orig_params = false;
  ShardingStrategy strategy = ShardingStrategy::kFullShard;
};

class OptimStateTest : public testing::TestWithParam<OptimCase> {
 protected:
  static FsdpOptions Options() {
    FsdpOptions options = OverTheWorld();
    options.use_orig_params = GetParam().use_orig_params;
    options.strategy = GetParam().strategy;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(All, OptimStateTest,
                         testing::Values(OptimCase{"flat"}, OptimCase{"orig", true},
                                         OptimCase{"flat_no_shard", false, ShardingStrategy::kNoShard},
                                         OptimCase{"orig_no_shard", true, ShardingStrategy::kNoShard}),
                         [](const auto& info) { return info.param.name; });

TEST_P(OptimStateTest, FullStateIsTheTwins) {
  const Pair pair = TrainedPair(Options());
  const Dict saved = Save(pair);
  const std::map<std::string, Dict> expected = ExpectedState(pair);
  ASSERT_EQ(StateOf(saved).size(), expected.size());
  for (const auto& [fqn, state] : expected) {
    ExpectSameState(StateOf(saved).At(fqn).AsDict(), state, fqn, kSumOrderTolerance);
  }
  const Dict& group = saved.At("param_groups").AsList().at(0).AsDict();
  std::vector<std::string> params = group.At("params").AsStrings();
  std::vector<std::string> names = NamesOf(*pair.twin);
  std::ranges::sort(params);
  std::ranges::sort(names);
  EXPECT_THAT(params, ElementsAreArray(names));
  EXPECT_EQ(group.At("weight_decay").AsDouble(), 0.1);
}

TEST_P(OptimStateTest, WhatIsSavedDoesNotChangeWithTheOptimizer) {
  Pair pair = TrainedPair(Options(), 1);
  const std::map<std::string, Dict> expected = ExpectedState(pair);
  std::map<std::string, Dict> copies;
  for (const auto& [fqn, state] : expected) {
    for (const auto& [name, value] : state) copies[fqn].Set(name, value.AsTensor().clone());
  }
  const Dict saved = Save(pair);
  Train(pair, 1, 3);
  for (const auto& [fqn, state] : copies) {
    ExpectSameState(StateOf(saved).At(fqn).AsDict(), state, fqn, kSumOrderTolerance);
  }
}

TEST_P(OptimStateTest, Rank0OnlyLeavesNothingElsewhere) {
  const Pair pair = TrainedPair(Options());
  const Dict everywhere = Save(pair);
  const Dict saved = Save(pair, {.rank0_only = true});
  if (World().rank() != 0) {
    EXPECT_TRUE(saved.empty());
    return;
  }
  for (const auto& [fqn, state] : StateOf(everywhere)) {
    ExpectSameState(StateOf(saved).At(fqn).AsDict(), state.AsDict(), ToString(fqn));
  }
}

TEST_P(OptimStateTest, LoadingGivesTheOptimizersOwnLayoutBack) {
  const Pair pair = TrainedPair(Options());
  const Dict own = pair.optimizer->StateDict();
  const Dict full = Save(pair);
  const Dict sharded = Save(pair, {.shard_state = true});
  const Dict* at_first = World().rank() == 0 ? &full : nullptr;
  for (const Dict& loaded : {ToLoad(pair, &full), ToLoad(pair, &sharded),
                             ToLoad(pair, at_first, {.rank0_only = true})}) {
    ASSERT_EQ(StateOf(loaded).size(), StateOf(own).size());
    for (const auto& [id, state] : StateOf(own)) {
      ExpectSameState(StateOf(loaded).At(id).AsDict(), state.AsDict(), ToString(id));
    }
    EXPECT_EQ(loaded.At("param_groups").AsList().at(0).AsDict().At("params").AsInts(),
              own.At("param_groups").AsList().at(0).AsDict().At("params").AsInts());
    pair.optimizer->LoadStateDict(loaded);
  }
}

TEST_P(OptimStateTest, ChunksAreCutAlongTheRows) {
  const Pair pair = TrainedPair(Options());
  const Dict saved = Save(pair, {.shard_state = true});
  const bool stays_whole = GetParam().strategy == ShardingStrategy::kNoShard && GetParam().use_orig_params;
  for (const auto& [fqn, state] : ExpectedState(pair)) {
    const Value& value = StateOf(saved).At(fqn).AsDict().At("exp_avg");
    if (stays_whole) {
      EXPECT_TRUE(value.TryAs<Tensor>()) << fqn;
      continue;
    }
    const at::Tensor whole = GatherShardedTensor(value.AsShardedTensor(), World());
    EXPECT_TRUE(at::allclose(whole, state.At("exp_avg").AsTensor(), kSumOrderTolerance, kSumOrderTolerance)) << fqn;
    EXPECT_EQ(StateOf(saved).At(fqn).AsDict().At("step").AsTensor().item<float>(), 2);
  }
}

TEST_P(OptimStateTest, StateThatBelongsToNoParameterIsCopied) {
  const Pair pair = TrainedPair(Options());
  Dict own = pair.optimizer->StateDict();
  own.Find("state")->AsDict().Set("mine", Dict{{"count", 3}});
  std::vector<std::string> warnings;
  const Dict saved = SaveOptimState(*pair.model, {pair.optimizer.get(), {}}, own, World(), {}, warnings);
  EXPECT_EQ(StateOf(saved).At("mine").AsDict().At("count").AsInt(), 3);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings.front(), HasSubstr("mine"));
  EXPECT_EQ(StateOf(ToLoad(pair, &saved)).At("mine").AsDict().At("count").AsInt(), 3);
}

TEST_P(OptimStateTest, WithoutParamGroupsThereAreNone) {
  const Pair pair = TrainedPair(Options());
  Dict own = pair.optimizer->StateDict();
  own.Erase("param_groups");
  std::vector<std::string> warnings;
  const Dict saved = SaveOptimState(*pair.model, {pair.optimizer.get(), {}}, own, World(), {}, warnings);
  EXPECT_FALSE(saved.Contains("param_groups"));
  EXPECT_FALSE(ToLoad(pair, &saved).Contains("param_groups"));
}

// A failure of one rank is told to the others before they wait for it.
TEST_P(OptimStateTest, NoRankWaitsForOneThatFails) {
  const Pair pair = TrainedPair(Options());
  Dict own = pair.optimizer->StateDict();
  if (World().rank() == 1) own.Erase("state");
  std::vector<std::string> warnings;
  const std::string saving =
      ErrorOf([&] { SaveOptimState(*pair.model, {pair.optimizer.get(), {}}, own, World(), {}, warnings); });
  EXPECT_THAT(saving, StartsWith(World().rank() == 1 ? "KeyError: 'state'" : "RuntimeError: rank 1: "));
  Dict sharded = Save(pair, {.shard_state = true});
  if (World().rank() == 1) sharded.Erase("state");
  const std::string loading = ErrorOf([&] { ToLoad(pair, &sharded); });
  EXPECT_THAT(loading, StartsWith(World().rank() == 1 ? "ValueError" : "RuntimeError: rank 1: "));
  World().Barrier();
}

class FlatOptimStateTest : public testing::Test {
 protected:
  Pair pair_ = TrainedPair(OverTheWorld());

  std::string LoadingError(const Dict& saved) {
    return ErrorOf([&] { ToLoad(pair_, &saved); });
  }
};

Dict& MemberOf(Dict& saved, const std::string& fqn) { return saved.Find("state")->AsDict().Find(fqn)->AsDict(); }

TEST_F(FlatOptimStateTest, MembersOfAFlatParameterMustAgree) {
  const std::string fqn = NamesOf(*pair_.twin).at(1);
  Dict other_step = Save(pair_);
  MemberOf(other_step, fqn).Set("step", at::full({}, 77.0f));
  EXPECT_THAT(LoadingError(other_step),
              StartsWith("ValueError: All unflattened parameters comprising a single flat parameter must have scalar "
                         "state with the same value and dtype"));
  Dict other_name = Save(pair_);
  MemberOf(other_name, fqn).Set("more", 1);
  EXPECT_THAT(LoadingError(other_name), StartsWith("ValueError: Differing optimizer state names"));
  Dict other_kind = Save(pair_);
  MemberOf(other_kind, fqn).Set("exp_avg", 1.0);
  EXPECT_THAT(LoadingError(other_kind), StartsWith("ValueError: Differing optimizer state types"));
  Dict other_shape = Save(pair_);
  MemberOf(other_shape, fqn).Set("exp_avg", at::zeros({17}));
  EXPECT_THAT(LoadingError(other_shape), StartsWith("ValueError: Tensor optimizer state does not have same shape"));
  Dict other_dtype = Save(pair_);
  MemberOf(other_dtype, fqn).Set("exp_avg", MemberOf(other_dtype, fqn).At("exp_avg").AsTensor().to(at::kDouble));
  EXPECT_THAT(LoadingError(other_dtype), HasSubstr("same dtype"));
}

TEST_F(FlatOptimStateTest, NoneEverywhereStaysNone) {
  Dict saved = Save(pair_);
  for (auto& [fqn, state] : saved.Find("state")->AsDict()) state.AsDict().Set("nothing", {});
  const Dict loaded = ToLoad(pair_, &saved);
  for (const auto& [id, state] : StateOf(loaded)) EXPECT_TRUE(state.AsDict().At("nothing").IsNone());
}

TEST_F(FlatOptimStateTest, EveryRankMustHaveTheStateOfTheFirst) {
  Dict own = pair_.optimizer->StateDict();
  if (World().rank() == 1) own.Find("state")->AsDict().Erase(int64_t{0});
  std::vector<std::string> warnings;
  const std::string error =
      ErrorOf([&] { SaveOptimState(*pair_.model, {pair_.optimizer.get(), {}}, own, World(), {}, warnings); });
  EXPECT_THAT(error, HasSubstr("each rank to have at least the optimizer states needed by rank 0's optimizer"));
  EXPECT_THAT(error, HasSubstr("Rank 1 is missing"));
}

TEST_F(FlatOptimStateTest, RekeyingMatchesTheTwinsIds) {
  const Dict saved = Save(pair_);
  const OptimizerKeys ids = KeysOf({pair_.twin_optimizer.get(), {}}, *pair_.twin, false);
  const Dict by_id = RekeyOptimState(saved, OptimStateKeyType::kParameterId, *pair_.twin, ids);
  const Dict expected = pair_.twin_optimizer->StateDict();
  for (const auto& [id, state] : StateOf(expected)) {
    ExpectSameState(StateOf(by_id).At(id).AsDict(), state.AsDict(), ToString(id), kSumOrderTolerance);
  }
  const Dict by_name = RekeyOptimState(by_id, OptimStateKeyType::kParameterName, *pair_.twin, ids);
  EXPECT_THAT(StateOf(by_name).Keys(), ElementsAreArray(StateOf(saved).Keys()));
  Dict mixed = by_id;
  mixed.Find("state")->AsDict().Set("name", Dict{});
  EXPECT_THAT(ErrorOf([&] { RekeyOptimState(mixed, OptimStateKeyType::kParameterId, *pair_.twin, ids); }),
              StartsWith("ValueError: Invalid parameter keys"));
}

FsdpOptions WithOrigParams() {
  FsdpOptions options = OverTheWorld();
  options.use_orig_params = true;
  return options;
}

// Frozen from the start: without state anywhere, and without an entry.
TEST(SlicedOptimStateTest, FrozenParametersNeedNoState) {
  const models::ModulePtr plain = BuildZoo("four_nets", {});
  const models::ModulePtr twin = models::DeepCopy(*plain);
  const auto model = Wrap(plain, WithOrigParams());
  Pair pair{model, twin, AdamOf(*model), AdamOf(*twin)};
  for (models::Module* root : {static_cast<models::Module*>(model.get()), twin.get()}) {
    for (const auto& [name, parameter] : models::NamedParameters(*root)) {
      if (name.starts_with("net2")) parameter->value.set_requires_grad(false);
    }
  }
  Train(pair, 2, 8);
  const Dict saved = Save(pair);
  const std::map<std::string, Dict> expected = ExpectedState(pair);
  EXPECT_FALSE(StateOf(saved).Contains("net2.0.weight"));
  ASSERT_EQ(StateOf(saved).size(), expected.size());
  for (const auto& [fqn, state] : expected) {
    ExpectSameState(StateOf(saved).At(fqn).AsDict(), state, fqn, kSumOrderTolerance);
  }
}

TEST(SlicedOptimStateTest, TrainableParametersNeedStateSomewhere) {
  const auto [model, twin] = NestedModel(WithOrigParams());
  Pair pair{model, twin, AdamOf(*model), AdamOf(*twin)};
  Train(pair, 1, 3);
  Dict own = pair.optimizer->StateDict();
  own.Find("state")->AsDict().Erase(int64_t{0});
  std::vector<std::string> warnings;
  EXPECT_THAT(ErrorOf([&] { SaveOptimState(*model, {pair.optimizer.get(), {}}, own, World(), {}, warnings); }),
              HasSubstr("is not in the optimizer state"));
}

// Ranks without elements of a parameter have old scalars, which do not count.
TEST(SlicedOptimStateTest, ScalarsComeFromRanksWithElements) {
  const auto [model, twin] = NestedModel(WithOrigParams());
  Pair pair{model, twin, AdamOf(*model), AdamOf(*twin)};
  pair.optimizer->InitState();
  pair.optimizer->ZeroGrad();
  pair.twin_optimizer->InitState();
  pair.twin_optimizer->ZeroGrad();
  Train(pair, 1, 3);
  const Dict saved = Save(pair);
  for (const auto& [fqn, state] : StateOf(saved)) {
    EXPECT_EQ(state.AsDict().At("step").AsTensor().item<float>(), 2) << ToString(fqn);
  }
}

TEST(UnmanagedOptimStateTest, IsPassedOnAsItIs) {
  for (const bool use_orig_params : {false, true}) {
    const models::ModulePtr plain = BuildZoo("nested_mlp", {{"dim", 3}});
    const models::ModulePtr twin = models::DeepCopy(*plain);
    FsdpOptions options = OverTheWorld();
    options.use_orig_params = use_orig_params;
    options.ignored_modules = {plain->child("2").get()};
    const auto model = Wrap(plain, options);
    Pair pair{model, twin, AdamOf(*model), AdamOf(*twin)};
    pair.optimizer->InitState();
    const Dict saved = Save(pair);
    EXPECT_EQ(StateOf(saved).size(), NamesOf(*twin).size());
    const Dict sharded = Save(pair, {.shard_state = true});
    for (const auto& [fqn, state] : StateOf(sharded)) {
      const bool is_unmanaged = ToString(fqn).starts_with("2.");
      EXPECT_EQ(state.AsDict().At("exp_avg").TryAs<Tensor>() != nullptr, is_unmanaged) << ToString(fqn);
    }
    const Dict* at_first = World().rank() == 0 ? &saved : nullptr;
    const Dict own = pair.optimizer->StateDict();
    const Dict loaded = ToLoad(pair, at_first, {.rank0_only = true});
    for (const auto& [id, state] : StateOf(loaded)) {
      ExpectSameState(state.AsDict(), StateOf(own).At(id).AsDict(), ToString(id));
    }
  }
}

}  // namespace
}  // namespace shardcts::reference
