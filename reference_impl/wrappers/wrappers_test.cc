// Wrappers around complete modules: names do not change, gradients are those of the plain model.
#include "fsdp/testing/units_against_unsharded.h"
#include "wrappers/checkpoint_wrapper.h"
#include "wrappers/data_parallel.h"

namespace shardcts::reference {
namespace {

models::ModulePtr Checkpointed(models::ModulePtr module) {
  return std::make_shared<CheckpointWrapper>(std::move(module));
}

TEST(CheckpointWrapperTest, NamesAndStateDictsDoNotShowIt) {
  const models::ModulePtr twin = BuildZoo("nested_mlp", {{"dim", 3}});
  const models::ModulePtr copy = models::DeepCopy(*twin);
  copy->ReplaceChild("1", Checkpointed(copy->child("1")));
  const models::ModulePtr model = Checkpointed(copy);
  EXPECT_EQ(KeysOf(SaveStateDict(*model)), KeysOf(SaveStateDict(*twin)));
  EXPECT_EQ(LoadStateDict(*model, SaveStateDict(*twin)).missing_keys.size(), 0u);
  EXPECT_EQ(LoadStateDict(*twin, SaveStateDict(*model)).missing_keys.size(), 0u);
}

TEST(CheckpointWrapperTest, GradientsAreThoseOfThePlainModelAndForwardRunsTwice) {
  const models::ModulePtr twin = BuildZoo("nested_mlp", {{"dim", 3}});
  const models::ModulePtr model = models::DeepCopy(*twin);
  int runs = 0;
  model->child("0")->AddForwardPreHook([&](at::Tensor input) {
    ++runs;
    return input;
  });
  for (const char* name : {"0", "1"}) model->ReplaceChild(name, Checkpointed(model->child(name)));
  model->Call(InputOf(0, 0, 3)).sum().backward();
  twin->Call(InputOf(0, 0, 3)).sum().backward();
  EXPECT_EQ(runs, 2);
  const auto actual = models::NamedParameters(*model);
  const auto expected = models::NamedParameters(*twin);
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_TRUE(at::equal(actual[i].second->value.grad(), expected[i].second->value.grad())) << actual[i].first;
  }
}

// Below a unit, above one, and below both.
TEST(CheckpointWrapperTest, TrainsWithUnits) {
  for (bool inside : {true, false}) {
    const models::ModulePtr twin = BuildZoo("nested_mlp", {{"dim", 3}});
    const models::ModulePtr plain = models::DeepCopy(*twin);
    for (const char* name : {"0", "2"}) {
      const models::ModulePtr child = plain->child(name);
      plain->ReplaceChild(
          name, inside ? Wrap(Checkpointed(child), OverTheWorld()) : Checkpointed(Wrap(child, OverTheWorld())));
    }
    const auto model = Wrap(plain, OverTheWorld());
    TrainBoth(*model, *twin, 3);
    ExpectParametersOf(*model, *twin, kSumOrderTolerance);
    EXPECT_EQ(KeysOf(SaveStateDict(*model)), KeysOf(SaveStateDict(*twin)));
  }
}

TEST(DataParallelTest, TrainsLikeThePlainModelOnAllData) {
  const models::ModulePtr twin = BuildZoo("nested_mlp", {{"dim", 3}});
  const models::ModulePtr plain = models::DeepCopy(*twin);
  if (World().rank() != 0) {
    for (const auto& [name, parameter] : models::NamedParameters(*plain)) parameter->value.detach().zero_();
  }
  const std::shared_ptr<Communicator> world(&World(), [](Communicator*) {});
  const models::ModulePtr model = std::make_shared<DataParallel>(plain, world);
  TrainBoth(*model, *twin, 3);
  ExpectParametersOf(*model, *twin, kSumOrderTolerance);
}

}  // namespace
}  // namespace shardcts::reference
