// Saving and loading with the three types, compared with the state dict of the reference model.
#include "fsdp/testing/units_against_unsharded.h"

namespace shardcts::reference {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

StateDict SaveAs(models::Module& model, const StateDictSettings& settings) {
  const StateDictTypeScope scope(model, settings);
  return SaveStateDict(model);
}

StateDict SaveAs(models::Module& model, StateDictType type) { return SaveAs(model, MakeStateDictSettings(type)); }

LoadResult LoadAs(models::Module& model, StateDictType type, const StateDict& state_dict, bool strict = true) {
  const StateDictTypeScope scope(model, MakeStateDictSettings(type));
  return LoadStateDict(model, state_dict, {.strict = strict});
}

std::map<std::string, at::Tensor> Gathered(const StateDict& state_dict) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [key, value] : state_dict) {
    const auto* sharded = std::get_if<ShardedTensor>(&value);
    tensors[key] = sharded ? GatherShardedTensor(*sharded, World()) : std::get<at::Tensor>(value);
  }
  return tensors;
}

class StateDictTest : public testing::TestWithParam<bool> {
 protected:
  static FsdpOptions Options() {
    FsdpOptions options = OverTheWorld();
    options.use_orig_params = GetParam();
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(All, StateDictTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "use_orig_params" : "flat"; });

TEST_P(StateDictTest, FullHasTheTwinsKeysInOrderAndCopiesOfItsValues) {
  const auto [model, twin] = NestedModel(Options());
  const StateDict saved = SaveStateDict(*model);  // FULL is what a fresh unit has
  EXPECT_EQ(KeysOf(saved), KeysOf(SaveStateDict(*twin)));
  FillParameters(*model, 0);
  ExpectEqualTensors(PlainTensors(saved), TwinTensors(*twin));
  for (const auto& [key, value] : PlainTensors(saved)) EXPECT_FALSE(value.requires_grad()) << key;
}

TEST_P(StateDictTest, RoundTripsRestoreEveryValue) {
  for (const StateDictType type : {StateDictType::kFull, StateDictType::kSharded, StateDictType::kLocal}) {
    if (type == StateDictType::kLocal && GetParam()) continue;
    const auto [source, twin] = NestedModel(Options());
    const auto [target, unused] = NestedModel(Options());
    FillParameters(*target, 0);
    const LoadResult result = LoadAs(*target, type, SaveAs(*source, type));
    EXPECT_THAT(result.missing_keys, IsEmpty());
    ExpectParametersOf(*target, *twin);
    target->Call(InputOf(World().rank(), 0, 3)).sum().backward();
  }
}

TEST_P(StateDictTest, AssigningFillsTheParametersThatAreThere) {
  for (const StateDictType type : {StateDictType::kFull, StateDictType::kSharded, StateDictType::kLocal}) {
    if (type == StateDictType::kLocal && GetParam()) continue;
    const auto [source, twin] = NestedModel(Options());
    const auto [target, unused] = NestedModel(Options());
    FillParameters(*target, 0);
    const auto before = models::NamedParameters(*target);
    const StateDict saved = SaveAs(*source, type);
    const StateDictTypeScope scope(*target, MakeStateDictSettings(type));
    LoadStateDict(*target, saved, {.assign = true});
    EXPECT_EQ(models::NamedParameters(*target), before);
    ExpectParametersOf(*target, *twin);
  }
}

TEST_P(StateDictTest, ShardedIsTheTwinCutAlongDimension0) {
  const auto [model, twin] = NestedModel(Options());
  const StateDict saved = SaveAs(*model, StateDictType::kSharded);
  const auto expected = TwinTensors(*twin);
  EXPECT_EQ(KeysOf(saved), KeysOf(SaveStateDict(*twin)));
  for (const auto& [key, value] : saved) {
    const auto& sharded = std::get<ShardedTensor>(value);
    const std::vector<at::Tensor> chunks = expected.at(key).chunk(World().size());
    ASSERT_EQ(sharded.metadata.size(), chunks.size()) << key;
    EXPECT_EQ(sharded.shape, expected.at(key).sizes().vec());
    const bool has_shard = static_cast<size_t>(World().rank()) < chunks.size();
    ASSERT_EQ(sharded.local_shards.size(), has_shard ? 1u : 0u);
    if (!has_shard) continue;
    EXPECT_TRUE(at::equal(sharded.local_shards[0].tensor, chunks[World().rank()])) << key;
  }
  ExpectEqualTensors(Gathered(saved), expected);
}

TEST_P(StateDictTest, Rank0OnlyLeavesTheOthersNothing) {
  const auto [model, twin] = NestedModel(Options());
  const StateDict saved =
      SaveAs(*model, MakeStateDictSettings(StateDictType::kFull, StateDictConfig{"FullStateDictConfig", true, true}));
  if (World().rank() == 0) {
    ExpectEqualTensors(PlainTensors(saved), TwinTensors(*twin));
  } else {
    EXPECT_THAT(KeysOf(saved), IsEmpty());
  }
  ExpectParametersOf(*model, *twin);
}

TEST_P(StateDictTest, TiedParametersAreSavedUnderEveryNameAsCopiesOfTheirOwn) {
  const models::ModulePtr plain = BuildZoo("transformer", Dict{});
  const auto expected = TwinTensors(*models::DeepCopy(*plain));
  const auto unit = Wrap(plain, Options());
  const StateDict saved = SaveStateDict(*unit);
  auto tensors = PlainTensors(saved);
  ExpectEqualTensors(tensors, expected);
  EXPECT_FALSE(tensors.at("output.weight").is_alias_of(tensors.at("tok_embeddings.weight")));
  FillParameters(*unit, 0);
  LoadStateDict(*unit, saved);
  ExpectEqualTensors(PlainTensors(SaveStateDict(*unit)), expected);
  ExpectEqualTensors(Gathered(SaveAs(*unit, StateDictType::kSharded)), expected);
}

TEST_P(StateDictTest, MissingAndUnexpectedKeysShowNoWrapper) {
  const auto [model, twin] = NestedModel(Options());
  StateDict saved = SaveStateDict(*model);
  saved.erase(saved.begin());
  saved.emplace_back("unexpected", at::ones({1}));
  const LoadResult result = LoadStateDict(*model, saved, {.strict = false});
  EXPECT_THAT(result.missing_keys, UnorderedElementsAre("0.in_proj.weight"));
  EXPECT_THAT(result.unexpected_keys, UnorderedElementsAre("unexpected"));
  EXPECT_THAT(ErrorOf([&] { LoadStateDict(*model, saved); }),
              HasSubstr("RuntimeError: Error(s) in loading state_dict for FullyShardedDataParallel:"));
  ExpectParametersOf(*model, *twin);
}

TEST_P(StateDictTest, LoadsIntoThePlainModel) {
  const auto [model, twin] = NestedModel(Options());
  const models::ModulePtr blank = models::DeepCopy(*twin);
  for (const auto& [name, parameter] : models::NamedParameters(*blank)) parameter->value.detach().zero_();
  LoadStateDict(*blank, SaveStateDict(*model));
  ExpectEqualTensors(TwinTensors(*blank), TwinTensors(*twin));
}

TEST_P(StateDictTest, WithinSummonFullParamsTheWholeValuesAreSavedAndLoaded) {
  const auto [model, twin] = NestedModel(Options());
  StateDict saved;
  {
    const SummonScope scope(*model, {});
    saved = SaveStateDict(*model);
    ExpectEqualTensors(PlainTensors(saved), TwinTensors(*twin));
    ExpectEqualTensors(Gathered(SaveAs(*model, StateDictType::kSharded)), TwinTensors(*twin));
  }
  FillParameters(*model, 0);
  {
    const SummonScope scope(*model, {});
    LoadStateDict(*model, saved);
  }
  ExpectParametersOf(*model, *twin);
}

TEST(LocalStateDictTest, EntriesAreTheLiveShardsWithoutPadding) {
  const auto [model, twin] = NestedModel(OverTheWorld());
  const StateDict saved = SaveAs(*model, StateDictType::kLocal);
  EXPECT_THAT(KeysOf(saved), UnorderedElementsAre("_flat_param", "0._flat_param", "2._flat_param"));
  const FlatParameter& flat = *model->flat();
  for (const auto& [key, value] : saved) {
    if (key != "_flat_param") continue;
    const auto& sharded = std::get<ShardedTensor>(value);
    EXPECT_EQ(sharded.shape, std::vector<int64_t>{flat.layout().numel});
    EXPECT_EQ(sharded.local_shards[0].tensor.data_ptr(), flat.shard().data_ptr());
    EXPECT_EQ(sharded.local_shards[0].metadata.offsets[0], World().rank() * flat.layout().ShardNumel());
    EXPECT_EQ(GatherShardedTensor(sharded, World()).numel(), flat.layout().numel);
  }
}

TEST(LocalStateDictTest, ARankWithNothingButPaddingHasNoShardAndLoadsAllTheSame) {
  const auto unit = Wrap(BuildZoo("uneven_parameters", {{"shapes", List{List{1}}}}), OverTheWorld());
  FillParameters(*unit, 3);
  StateDict saved = SaveAs(*unit, StateDictType::kLocal);
  auto& sharded = std::get<ShardedTensor>(saved.front().second);
  EXPECT_EQ(sharded.local_shards.size(), World().rank() == 0 ? 1u : 0u);
  EXPECT_EQ(sharded.metadata.size(), 1u);
  sharded = WithLocalTensors(sharded, [](const at::Tensor& local) { return local.clone(); });
  FillParameters(*unit, 1.75);
  LoadAs(*unit, StateDictType::kLocal, saved);
  const SummonScope scope(*unit, {});
  EXPECT_EQ(models::NamedParameters(*unit).front().second->value.item<float>(), 3);
}

TEST(LocalStateDictTest, WrongEntriesAreRefusedAndNothingChanges) {
  const auto [model, twin] = NestedModel(OverTheWorld());
  const StateDict full = SaveStateDict(*model);
  const StateDict local = SaveAs(*model, StateDictType::kLocal);
  EXPECT_THAT(ErrorOf([&] { LoadAs(*model, StateDictType::kLocal, full); }),
              HasSubstr("AssertionError: No `FlatParameter` in `state_dict`"));
  EXPECT_THAT(ErrorOf([&] {
                LoadAs(*model, StateDictType::kLocal, {{"_flat_param", at::ones({1})}});
              }),
              HasSubstr("AssertionError: Tensors in local_state_dict should be ShardedTensor."));
  EXPECT_THAT(ErrorOf([&] { LoadAs(*model, StateDictType::kFull, local); }), HasSubstr("Missing key(s)"));
  EXPECT_THAT(ErrorOf([&] { LoadAs(*model, StateDictType::kSharded, full); }),
              HasSubstr("AssertionError: Expected ShardedTensor, got <class 'torch.Tensor'>"));
  ExpectParametersOf(*model, *twin);
}

TEST(StateDictTypeTest, ScopesRestoreWhatWasThereAlsoWhenAnExceptionPasses) {
  const auto [model, twin] = NestedModel(OverTheWorld());
  try {
    const StateDictTypeScope scope(*model, MakeStateDictSettings(StateDictType::kLocal));
    for (const FsdpModule* unit : FsdpUnits(*model)) EXPECT_EQ(unit->settings().type, StateDictType::kLocal);
    throw std::runtime_error("from the body");
  } catch (const std::runtime_error&) {
  }
  for (const FsdpModule* unit : FsdpUnits(*model)) EXPECT_EQ(unit->settings(), StateDictSettings{});
  EXPECT_THAT(ErrorOf([] { MakeStateDictSettings(StateDictType::kFull, StateDictConfig{"LocalStateDictConfig"}); }),
              HasSubstr("RuntimeError: Expected state_dict_config of type"));
  FsdpUnits(*model)[1]->set_settings(MakeStateDictSettings(StateDictType::kLocal));
  EXPECT_THAT(ErrorOf([&model = model] { GetStateDictType(*model); }), HasSubstr("AssertionError"));
  EXPECT_THAT(ErrorOf([&model = model] { SetStateDictType(*model, {}); }), HasSubstr("AssertionError"));
}

TEST(StateDictBuffersTest, BuffersAreNotCopiedButComeBackInTheirOwnDtype) {
  const auto build = [](const FsdpOptions& options) {
    const models::ModulePtr plain = BuildZoo("linear", {{"in", 2}, {"out", 2}});
    plain->RegisterBuffer("buffer", at::full({3}, 1.5));
    return Wrap(plain, options);
  };
  const auto plain = build(OverTheWorld());
  EXPECT_TRUE(PlainTensors(SaveStateDict(*plain)).at("buffer").is_alias_of(plain->wrapped().buffers()[0].second));
  FsdpOptions options = OverTheWorld();
  options.mixed_precision.buffer_dtype = at::kHalf;
  const auto mixed = build(options);
  const at::Tensor saved = PlainTensors(SaveStateDict(*mixed)).at("buffer");
  EXPECT_EQ(saved.scalar_type(), at::kFloat);
  EXPECT_EQ(saved[0].item<float>(), 1.5);
  EXPECT_EQ(mixed->wrapped().buffers()[0].second.scalar_type(), at::kHalf);
}

TEST(StateDictOfNoShardTest, IsFullWhateverTheType) {
  FsdpOptions options = OverTheWorld();
  options.strategy = ShardingStrategy::kNoShard;
  const auto [model, twin] = NestedModel(options);
  const StateDictTypeScope scope(*model, MakeStateDictSettings(StateDictType::kSharded));
  std::vector<std::string> warnings;
  const StateDict saved = SaveStateDict(*model, {}, &warnings);
  EXPECT_EQ(warnings.size(), 3u);
  FillParameters(*model, 0);
  ExpectEqualTensors(PlainTensors(saved), TwinTensors(*twin));
  LoadStateDict(*model, saved);
  ExpectParametersOf(*model, *twin);
}

TEST(StateDictOnAMeshTest, ShardedEntriesAreDTensors) {
  FsdpOptions options = OverTheWorld();
  options.mesh = LineMesh();
  const auto [model, twin] = NestedModel(options);
  const StateDict saved = SaveAs(*model, StateDictType::kSharded);
  const auto expected = TwinTensors(*twin);
  for (const auto& [key, value] : saved) EXPECT_TRUE(at::equal(FullTensor(std::get<DTensor>(value)), expected.at(key)));
  FillParameters(*model, 0);
  LoadAs(*model, StateDictType::kSharded, saved);
  ExpectParametersOf(*model, *twin);
  EXPECT_THAT(ErrorOf([&model = model] { SaveAs(*model, StateDictType::kLocal); }),
              HasSubstr("RuntimeError: Found state_dict_type LOCAL_STATE_DICT."));
}

}  // namespace
}  // namespace shardcts::reference
