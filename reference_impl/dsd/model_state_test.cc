// The state of a model has the names and values of the plain reference model, however it is wrapped, and can be loaded
// in every form.
#include "dsd/model_group.h"
#include "dsd/testing/states_against_unsharded.h"

namespace shardcts::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ModelStateTest : public testing::TestWithParam<WrappingCase> {
 protected:
  ModelStateTest()
      : twin_(BuildZoo("nested_mlp", {{"dim", 3}})), model_(Wrapped(models::DeepCopy(*twin_), GetParam().wrapping)) {}

  Dict TwinState() { return GetModel(*twin_); }
  // Values other than the model's, as full tensors.
  Dict OtherState() {
    Dict other = Copied(TwinState());
    for (auto& [name, value] : other) value = value.AsTensor() * 2 + 1;
    return other;
  }

  models::ModulePtr twin_;
  models::ModulePtr model_;
};

INSTANTIATE_TEST_SUITE_P(All, ModelStateTest, testing::ValuesIn(AllWrappings()),
                         [](const auto& info) { return info.param.name; });

TEST_P(ModelStateTest, NamesDoNotShowTheWrapper) {
  EXPECT_THAT(GetModel(*model_).Keys(), testing::UnorderedElementsAreArray(TwinState().Keys()));
}

TEST_P(ModelStateTest, AFullStateDictIsTheTwins) { ExpectSameTensors(GetModel(*model_, kFull), TwinState()); }

TEST_P(ModelStateTest, WithCpuOffloadAFullStateDictIsOnRank0) {
  const Dict saved = GetModel(*model_, kFullOnCpu);
  if (World().rank() != 0) {
    EXPECT_TRUE(saved.empty());
  } else {
    ExpectSameTensors(saved, TwinState());
  }
}

TEST_P(ModelStateTest, WholeAndOffloadedValuesShareNoStorageWithTheModel) {
  for (const StateDictOptions& options : {kFull, StateDictOptions{.cpu_offload = true}}) {
    for (const auto& [name, value] : GetModel(*model_, options)) {
      std::vector<at::Tensor> parts;
      if (const auto* tensor = value.TryAs<Tensor>()) parts.push_back(tensor->data);
      if (const auto* distributed = value.TryAs<shardcts::DTensor>()) parts.push_back(distributed->local);
      for (const at::Tensor& part : parts) {
        for (const auto& [other, parameter] : models::NamedParameters(*model_)) {
          EXPECT_FALSE(part.is_alias_of(parameter->value)) << ToString(name) << " and " << other;
        }
      }
    }
  }
}

TEST(GroupOfModelTest, IsThatOfItsMesh) {
  if (World().size() < 4) GTEST_SKIP() << "needs two groups of two ranks";
  const auto mesh = MeshOf({2, World().size() / 2}, {"half", "dp"})->Submesh({"dp"});
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  EXPECT_EQ(GroupOfModel(*model, &World()), &World());
  EXPECT_EQ(GroupOfModel(*model, nullptr), nullptr);
  ShardAll(*model, kThreeLayers, On(mesh));
  EXPECT_EQ(GroupOfModel(*model, &World()), &mesh->group(0));
  model->Call(InputOf(0, 0, 3));
  EXPECT_EQ(GroupOfModel(*model, &World()), &mesh->group(0)) << "while the root's parameters are gathered";
}

TEST_P(ModelStateTest, WhatWasSavedInPiecesComesBack) {
  const Dict saved = GetModel(*model_);
  const models::ModulePtr other = Wrapped(BuildZoo("nested_mlp", {{"dim", 3}}), GetParam().wrapping);
  SetModel(*other, OtherState(), kFull);
  EXPECT_TRUE(SetModel(*other, saved).missing_keys.empty());
  ExpectSameTensors(GetModel(*other, kFull), TwinState());
}

TEST_P(ModelStateTest, EveryRankTakesItsPartOfAFullStateDict) {
  const Dict other = OtherState();
  const Dict before = Copied(other);
  SetModel(*model_, other, kFull);
  ExpectSameTensors(GetModel(*model_, kFull), before);
  ExpectSameTensors(other, before);
}

TEST_P(ModelStateTest, Rank0SendsAFullStateDict) {
  const Dict other = OtherState();
  const Dict before = Copied(other);
  SetModel(*model_, World().rank() == 0 ? other : Dict{}, kFromRank0);
  ExpectSameTensors(GetModel(*model_, kFull), before);
  ExpectSameTensors(other, before);
}

TEST_P(ModelStateTest, AMissingNameIsAnErrorOnEveryRank) {
  Dict other = OtherState();
  const std::string missing = other.Keys().back();
  other.Erase(missing);
  const std::string expected = "Missing key(s) in state_dict: \"" + missing + "\".";
  EXPECT_THAT(ErrorOf([&] { SetModel(*model_, other, kFull); }), HasSubstr(expected));
  EXPECT_THAT(ErrorOf([&] { SetModel(*model_, World().rank() == 0 ? other : Dict{}, kFromRank0); }),
              HasSubstr(expected));
  StateDictOptions lenient = kFull;
  lenient.strict = false;
  EXPECT_THAT(SetModel(*model_, other, lenient).missing_keys, ElementsAre(missing));
}

TEST_P(ModelStateTest, ANameTooManyIsAnErrorOnEveryRank) {
  Dict other = OtherState();
  other.Set("abc", at::zeros({10}));
  const std::string expected = "Unexpected key(s) in state_dict: \"abc\".";
  EXPECT_THAT(ErrorOf([&] { SetModel(*model_, other, kFull); }), HasSubstr(expected));
  EXPECT_THAT(ErrorOf([&] { SetModel(*model_, World().rank() == 0 ? other : Dict{}, kFromRank0); }),
              HasSubstr(expected));
}

// Of one mesh of all ranks, by layers.
models::ModulePtr ShardedMeta(const models::ModulePtr& model) {
  ShardAll(*model, kThreeLayers, On(MeshOf({World().size()}, {})));
  return model;
}

TEST(MetaModelStateTest, GetsItsPartsByAssignmentWithStorageOfTheirSize) {
  const models::ModulePtr twin = BuildZoo("nested_mlp", {{"dim", 8}});
  const Dict whole = GetModel(*twin);
  for (const StateDictOptions& options : {kFull, kFromRank0}) {
    const models::ModulePtr model = ShardedMeta(BuildZoo("nested_mlp", {{"dim", 8}}, at::kMeta));
    const bool has_it = !options.broadcast_from_rank0 || World().rank() == 0;
    SetModel(*model, has_it ? whole : Dict{}, options);
    ExpectSameTensors(GetModel(*model, kFull), whole);
    for (const auto& [name, parameter] : models::NamedParameters(*model)) {
      EXPECT_EQ(parameter->value.storage().nbytes(), parameter->value.nbytes()) << name;
    }
  }
}

TEST(ModelStateOptionsTest, TiedParametersAreThereUnderEachName) {
  const models::ModulePtr twin = BuildZoo("transformer", {{"dropout_p", 0.0}});
  const Dict whole = Copied(GetModel(*twin));
  const auto model = Wrap(models::DeepCopy(*twin), UnitOptions(Wrapping::kFlatUnitsOnMesh));
  ExpectSameTensors(GetModel(*model, kFull), whole);
  SetModel(*model, World().rank() == 0 ? whole : Dict{}, kFromRank0);
  ExpectSameTensors(GetModel(*model, kFull), whole);
}

TEST(ModelStateOptionsTest, ExtraStateIsSavedAndGivenBack) {
  const models::ModulePtr model = BuildZoo("composite_param", {{"extra_state", "mine"}});
  const Dict saved = GetModel(*model, kFull);
  EXPECT_EQ(saved.At("u1._extra_state").AsString(), "mine");
  const models::ModulePtr other = BuildZoo("composite_param", {{"extra_state", "yours"}});
  SetModel(*other, World().rank() == 0 ? saved : Dict{}, kFromRank0);
  EXPECT_EQ(other->child("u2")->ExtraState().AsString(), "mine");
}

TEST(ModelStateOptionsTest, RenamedEntriesGoBackToTheirMembers) {
  const Dict args{{"kind", "RenamingFusionEmbedding"}, {"vocab", 4}, {"fusion_vocab", 4}, {"dim", 4}};
  const models::ModulePtr model = BuildZoo("fusion_embedding", args);
  const Dict saved = Copied(GetModel(*model));
  EXPECT_THAT(saved.Keys(), ElementsAre("fusion_embedding.weight", "weight"));
  Dict other = saved;
  for (auto& [name, value] : other) value = value.AsTensor() + 1;
  SetModel(*model, other, kFull);
  ExpectSameTensors(GetModel(*model), other);
}

TEST(ModelStateOptionsTest, WholeRenamedEntriesAreCutIfTheirModuleSaysWhoseTheyAre) {
  const Dict args{{"kind", "ModifyingFusionEmbedding"}, {"vocab", 4}, {"fusion_vocab", 4}, {"dim", 4}};
  const models::ModulePtr model = BuildZoo("fusion_embedding", args);
  Dict other = Copied(GetModel(*model));
  for (auto& [name, value] : other) value = value.AsTensor() + 1;
  ShardAll(*model, {}, On(MeshOf({World().size()}, {})));
  SetModel(*model, other, kFull);
  ExpectSameTensors(GetModel(*model, kFull), other);
  const std::string error =
      ErrorOf([&] { SetModel(*model, other, {.full_state_dict = true, .ask_modifiers = false}); });
  EXPECT_THAT(error, HasSubstr("\"embedding.weight\""));
  EXPECT_THAT(error, HasSubstr("mixed torch.Tensor and DTensor"));
}

TEST(ModelStateOptionsTest, FrozenParametersCanBeLeftOut) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  model->child("0")->child("in_proj")->parameter("weight")->value.set_requires_grad(false);
  const size_t all = GetModel(*model).size();
  const Dict saved = GetModel(*model, {.ignore_frozen_params = true});
  EXPECT_EQ(saved.size(), all - 1);
  EXPECT_FALSE(saved.Contains("0.in_proj.weight"));
}

TEST(ModelStateOptionsTest, SubmodulesWithAndWithoutTheirPath) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  Warnings warnings;
  const Dict kept = GetModelStateDict(*model, {"1.1"}, {}, Here(warnings));
  EXPECT_THAT(kept.Keys(), ElementsAre("1.1.weight", "1.1.bias"));
  const Dict cut = GetModelStateDict(*model, {"1.1"}, {.keep_submodule_prefixes = false}, Here(warnings));
  EXPECT_THAT(cut.Keys(), ElementsAre("weight", "bias"));
  EXPECT_THAT(JoinSubmodules(Dict{{"1.1", cut}}, Here(warnings)).Keys(), ElementsAre("1.1.weight", "1.1.bias"));
  ASSERT_EQ(warnings.given.size(), 3u);
  for (const Warning& warning : warnings.given) EXPECT_EQ(warning.category, "FutureWarning");
}

TEST(ModelStateOptionsTest, WithoutAProcessGroupThisRankHasItAll) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  Warnings warnings;
  const StateDictContext alone{nullptr, Meshes(), warnings.given};
  ExpectSameTensors(GetModelStateDict(*model, {}, kFullOnCpu, alone), GetModel(*model));
  EXPECT_THAT(ErrorOf([&] { SetModelStateDict(*model, {}, kFromRank0, alone); }), StartsWith("ValueError"));
}

TEST(ModelStateOptionsTest, RefusesWhatMakesNoSense) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  EXPECT_THAT(ErrorOf([&] { GetModel(*model, {.broadcast_from_rank0 = true}); }), StartsWith("ValueError"));
  EXPECT_THAT(ErrorOf([&] { SetModel(*model, {}); }), StartsWith("RuntimeError: The option indicates"));
  EXPECT_TRUE(SetModel(*model, {}, {.strict = false}).missing_keys.empty());
}

}  // namespace
}  // namespace shardcts::reference
