// What a state dict sees of a model under fully_shard.
#include <gmock/gmock.h>

#include "fully_shard/testing/sharded_training.h"
#include "fully_shard/storage.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const at::Tensor& LocalOf(const StateDict& state_dict, size_t index) {
  return std::get<DTensor>(state_dict.at(index).second).local;
}

// A sharded model on meta and the dict that materializes it, made of `source`'s values.
StateDict ShardedDictFor(models::Module& meta, models::Module& source) {
  const auto values = models::NamedParameters(source, false);
  StateDict given;
  size_t i = 0;
  for (const auto& [name, parameter] : models::NamedParameters(meta, false)) {
    const DTensorDistribution* distribution = FindDistribution(*parameter);
    given.emplace_back(name, DistributeTensor(values[i++].second->value.detach(), distribution->mesh,
                                              distribution->placements));
  }
  return given;
}

TEST(ShardedStateTest, RanksHoldCeilRowsAndPaddedStorage) {
  const models::ModulePtr model = BuildZoo("uneven_parameters", {{"shapes", List{List{5, 3}, List{1}, List{2, 8}}}});
  const models::ModulePtr twin = models::DeepCopy(*model);
  ShardAll(*model, {}, On(LineMesh()));
  const int64_t world = World().size();
  const StateDict saved = SaveStateDict(*model);
  for (size_t i = 0; i < saved.size(); ++i) {
    const at::Tensor& local = LocalOf(saved, i);
    const at::Tensor full = models::NamedParameters(*twin)[i].second->value.detach();
    const int64_t rows = (full.size(0) + world - 1) / world;
    const int64_t begin = std::min(World().rank() * rows, full.size(0));
    const int64_t end = std::min(begin + rows, full.size(0));
    EXPECT_TRUE(at::equal(local, full.slice(0, begin, end))) << saved[i].first;
    EXPECT_EQ(StorageBytes(local), rows * full[0].nbytes()) << saved[i].first;
    const at::Tensor storage = at::empty({0}).set_(local.storage(), 0, {rows * full[0].numel()}, {1});
    EXPECT_EQ(storage.slice(0, local.numel()).count_nonzero().item<int64_t>(), 0) << saved[i].first;
  }
}

TEST(ShardedStateTest, AStateDictTakenBeforeTheFirstForwardStaysLive) {
  const models::ModulePtr model = BuildZoo("mlp_sequence", {{"dim", 5}});
  const models::ModulePtr twin = models::DeepCopy(*model);
  ShardAll(*model, kThreeLayers, On(LineMesh()));
  const StateDict cached = SaveStateDict(*model);
  const at::Tensor before = LocalOf(cached, 0).clone();
  TrainBoth(*model, *twin, 5);
  const StateDict after = SaveStateDict(*model);
  for (size_t i = 0; i < cached.size(); ++i) {
    EXPECT_TRUE(at::equal(LocalOf(cached, i), LocalOf(after, i))) << cached[i].first;
    EXPECT_EQ(LocalOf(cached, i).storage().data(), LocalOf(after, i).storage().data()) << cached[i].first;
  }
  EXPECT_TRUE(before.numel() == 0 || !at::equal(before, LocalOf(cached, 0))) << "nothing was trained";
}

TEST(ShardedStateTest, SavingReshardsWhatAForwardLeftUnsharded) {
  const models::ModulePtr model = BuildZoo("mlp_sequence", {{"dim", 4}});
  FullyShardOptions options = On(LineMesh());
  options.reshard_after_forward = false;
  ShardAll(*model, kThreeLayers, options);
  model->Call(InputOf(World().rank(), 0, 4));
  for (const models::ParameterPtr& parameter : ParametersOf(*model)) EXPECT_EQ(parameter->distribution, nullptr);
  for (const auto& [name, value] : SaveStateDict(*model)) EXPECT_TRUE(std::holds_alternative<DTensor>(value)) << name;
  for (const models::ParameterPtr& parameter : ParametersOf(*model)) EXPECT_NE(parameter->distribution, nullptr);
}

TEST(ShardedStateTest, LoadingCopiesInPlaceAndRanksMayDiffer) {
  const models::ModulePtr model = BuildZoo("nested_mlp", {{"dim", 3}});
  ShardAll(*model, {}, On(HybridMesh()));
  const StateDict saved = SaveStateDict(*model);
  StateDict given = saved;
  for (auto& [name, value] : given) {
    DTensor& tensor = std::get<DTensor>(value);
    tensor.local = at::full_like(tensor.local, 42.0 + World().rank());
  }
  LoadStateDict(*model, given);
  const StateDict after = SaveStateDict(*model);
  for (size_t i = 0; i < saved.size(); ++i) {
    EXPECT_EQ(LocalOf(after, i).data_ptr(), LocalOf(saved, i).data_ptr());
    EXPECT_TRUE(at::equal(LocalOf(after, i), LocalOf(given, i)));
  }
}

TEST(ShardedStateTest, AMetaModelIsMaterializedByAssigningLoad) {
  const models::ModulePtr source = BuildZoo("mlp_sequence", {{"dim", 5}});
  const models::ModulePtr model = BuildZoo("mlp_sequence", {{"dim", 5}}, at::kMeta);
  ShardAll(*model, kThreeLayers, On(LineMesh()));
  for (const models::ParameterPtr& parameter : ParametersOf(*model)) EXPECT_TRUE(parameter->value.is_meta());
  LoadStateDict(*model, ShardedDictFor(*model, *source), {.assign = true});
  ExpectFullValuesOf(*model, *source);
  TrainBoth(*model, *source, 5);
  ExpectFullValuesOf(*model, *source, kSumOrderTolerance);
}

TEST(ShardedStateTest, AMetaModelTakesItsParametersOneByOne) {
  const models::ModulePtr source = BuildZoo("transformer", {{"dropout_p", 0.0}});
  const models::ModulePtr model = BuildZoo("transformer", {{"dropout_p", 0.0}}, at::kMeta);
  ShardAll(*model, {"layers.0", "layers.1"}, On(LineMesh()));
  for (const auto& entry : ShardedDictFor(*model, *source)) {
    LoadStateDict(*model, {entry}, {.strict = false, .assign = true});
  }
  const at::Tensor tokens = models::ExampleInput("transformer", {});
  EXPECT_TRUE(at::equal(model->Call(tokens), source->Call(tokens)));
}

TEST(ShardedStateTest, ForwardOfAMetaModelIsAnError) {
  const models::ModulePtr model = BuildZoo("linear", {{"in", 4}, {"out", 4}}, at::kMeta);
  ShardAll(*model, {}, On(LineMesh()));
  EXPECT_THAT(ErrorOf([&] { model->Call(at::ones({1, 4})); }),
              StartsWith("RuntimeError: FSDP parameters should be materialized from meta device before training, but "
                         "the following were still on meta device: ['weight', 'bias']\n"));
}

TEST(ShardedStateTest, MovingTheModelGivesNewPaddedStorageAndTrainingGoesOn) {
  const models::ModulePtr model = BuildZoo("mlp_sequence", {{"dim", 5}});
  const models::ModulePtr twin = models::DeepCopy(*model);
  ShardAll(*model, kThreeLayers, On(LineMesh()));
  const StateDict before = SaveStateDict(*model);
  ApplyToTensors(*model, [](const at::Tensor& tensor) { return tensor.clone(); });
  const StateDict after = SaveStateDict(*model);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(at::equal(LocalOf(before, i), LocalOf(after, i))) << before[i].first;
    EXPECT_NE(LocalOf(before, i).storage().data(), LocalOf(after, i).storage().data()) << before[i].first;
    EXPECT_EQ(StorageBytes(LocalOf(before, i)), StorageBytes(LocalOf(after, i))) << before[i].first;
  }
  TrainBoth(*model, *twin, 5);
  ExpectFullValuesOf(*model, *twin, kSumOrderTolerance);
}

// Parameters of a Linear placed over the tensor-parallel dimension, as a colwise style does it.
void DistributeColwise(models::Module& linear, const std::shared_ptr<DeviceMesh>& mesh) {
  for (auto& [name, slot] : linear.parameters()) {
    slot = MakeDTensorParameter(DistributeTensor(slot->value.detach(), mesh, {Placement::Shard(0)}));
  }
}

TEST(ShardedStateTest, ATensorParallelParameterIsShardedFurtherAndComesBackWhole) {
  const models::ModulePtr model = BuildZoo("linear", {{"in", 3}, {"out", 10}});
  const models::ModulePtr twin = models::DeepCopy(*model);
  const auto mesh = DeviceMesh::Create(World(), "cpu", {World().size() / 2, 2}, {"dp", "tp"});
  DistributeColwise(*model, mesh->Submesh({"tp"}));
  ShardAll(*model, {}, On(mesh->Submesh({"dp"})));
  const DTensorDistribution* distribution = FindDistribution(*model->parameter("weight"));
  EXPECT_EQ(ToString(distribution->placements), "[_S(0,2), S(0)]");
  EXPECT_EQ(distribution->mesh->layout(), mesh->layout());
  ExpectFullValuesOf(*model, *twin);
}

TEST(ShardedStateTest, WhatCannotBeShardedIsAnErrorThatSaysWhy) {
  const models::ModulePtr model = BuildZoo("transformer", {});
  const FullyShardOptions options = On(LineMesh());
  EXPECT_THAT(ErrorOf([&] { FullyShard(*model->child("layers"), options); }),
              HasSubstr("ValueError: fully_shard does not support containers that do not implement forward"));
  FullyShard(*model, options);
  EXPECT_THAT(ErrorOf([&] { FullyShard(*model, options); }), StartsWith("AssertionError: Each distinct composable"));
  const models::ModulePtr scalar = BuildZoo("uneven_parameters", {{"shapes", List{List{}}}});
  EXPECT_THAT(ErrorOf([&] { FullyShard(*scalar, options); }), HasSubstr("doesn't support scalar parameters"));
  FullyShardOptions second_dim = options;
  second_dim.shard_placement = [](const models::Parameter&) { return 1; };
  const models::ModulePtr uneven = BuildZoo("uneven_parameters", {{"shapes", List{List{4, 3}}}});
  EXPECT_EQ(ErrorOf([&] { FullyShard(*uneven, second_dim); }),
            "NotImplementedError: FSDP does not support uneven sharding on dim 1: torch.Size([4, 3]) (world size: " +
                std::to_string(World().size()) + ")");
  const models::ModulePtr second_is_uneven = BuildZoo("uneven_parameters", {{"shapes", List{List{2, 8}, List{4, 3}}}});
  EXPECT_THAT(ErrorOf([&] { FullyShard(*second_is_uneven, second_dim); }), StartsWith("NotImplementedError"));
  EXPECT_EQ(second_is_uneven->parameter("p0")->distribution, nullptr) << "nothing is sharded before the error";
}

TEST(ShardedStateTest, ATiedParameterInTwoGroupsIsAnError) {
  const models::ModulePtr model = BuildZoo("transformer", {{"dropout_p", 0.0}});
  ShardAll(*model, {"tok_embeddings"}, On(LineMesh()));
  EXPECT_THAT(ErrorOf([&] { model->Call(models::ExampleInput("transformer", {})); }),
              HasSubstr("ValueError: Parameter 'tok_embeddings.weight' is shared with a parameter already managed"));
}

}  // namespace
}  // namespace shardcts::reference
