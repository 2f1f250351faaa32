#include "state_dict/state_dict.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/fsdp_models.h"
#include "models/layers.h"
#include "models/transformer.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

models::ModulePtr TwoLinears(at::Device device = at::kCPU) {
  return std::make_shared<models::Sequential>(std::vector<models::ModulePtr>{
      std::make_shared<models::Linear>(2, 3, true, device), std::make_shared<models::Linear>(3, 2, false, device)});
}

const at::Tensor& PlainValue(const StateDict& state_dict, size_t index) {
  return std::get<at::Tensor>(state_dict.at(index).second);
}

StateDict CloneOf(const StateDict& state_dict) {
  StateDict clone;
  for (const auto& [key, value] : state_dict) clone.emplace_back(key, std::get<at::Tensor>(value).clone());
  return clone;
}

std::string LoadError(models::Module& module, const StateDict& state_dict, const LoadOptions& options = {}) {
  try {
    LoadStateDict(module, state_dict, options);
  } catch (const SemanticError& error) {
    return error.kind() + ": " + error.what();
  }
  return "no error";
}

TEST(StateDictTest, SharesStorageAndIsDetached) {
  const models::ModulePtr model = TwoLinears();
  const StateDict saved = SaveStateDict(*model);
  ASSERT_EQ(saved.size(), 3u);
  EXPECT_EQ(saved[0].first, "0.weight");
  EXPECT_FALSE(PlainValue(saved, 0).requires_grad());
  EXPECT_EQ(PlainValue(saved, 0).data_ptr(), model->child("0")->parameter("weight")->value.data_ptr());
}

TEST(StateDictTest, HoldsATiedParameterUnderEachName) {
  models::Transformer model({}, at::kCPU);
  const StateDict saved = SaveStateDict(model);
  EXPECT_EQ(saved.size(), 29u);
  EXPECT_EQ(PlainValue(saved, 0).data_ptr(), PlainValue(saved, 28).data_ptr());
}

TEST(StateDictTest, ABufferThatIsNotPersistentIsNeitherSavedNorExpected) {
  models::InnerOuter model(/*register_buffers=*/true, at::kCPU);
  StateDict saved = SaveStateDict(model);
  std::vector<std::string> keys;
  for (const auto& [key, value] : saved) keys.push_back(key);
  EXPECT_THAT(keys,
              ElementsAre("inner.weight", "inner.bias", "inner.buffer", "outer.weight", "outer.bias", "outer.buffer"));
  EXPECT_EQ(LoadError(model, saved), "no error");
  saved.emplace_back("inner.non_persistent_buffer", at::zeros({5, 5}));
  EXPECT_THAT(LoadError(model, saved), HasSubstr("Unexpected key(s) in state_dict: \"inner.non_persistent_buffer\""));
}

TEST(StateDictTest, LoadingCopiesIntoTheSameStorage) {
  const models::ModulePtr model = TwoLinears();
  const void* before = model->child("0")->parameter("weight")->value.data_ptr();
  StateDict given = CloneOf(SaveStateDict(*model));
  std::get<at::Tensor>(given[0].second).fill_(7);
  LoadStateDict(*model, given);
  const at::Tensor loaded = model->child("0")->parameter("weight")->value;
  EXPECT_EQ(loaded.data_ptr(), before);
  EXPECT_TRUE(at::equal(loaded.detach(), at::full({3, 2}, 7.0)));
}

TEST(StateDictTest, AssignTakesTheGivenTensorsAlsoOnMeta) {
  const models::ModulePtr model = TwoLinears(at::kMeta);
  const StateDict given = CloneOf(SaveStateDict(*TwoLinears()));
  LoadStateDict(*model, given, {.assign = true});
  const at::Tensor loaded = model->child("0")->parameter("weight")->value;
  EXPECT_EQ(loaded.data_ptr(), PlainValue(given, 0).data_ptr());
  EXPECT_TRUE(loaded.requires_grad());
}

TEST(StateDictTest, CopyingIntoMetaWarnsAndDoesNothing) {
  const models::ModulePtr model = TwoLinears(at::kMeta);
  const LoadResult result = LoadStateDict(*model, CloneOf(SaveStateDict(*TwoLinears())));
  ASSERT_EQ(result.user_warnings.size(), 3u);
  EXPECT_THAT(result.user_warnings[0], HasSubstr("for 0.weight: copying from a non-meta parameter"));
  EXPECT_TRUE(model->child("0")->parameter("weight")->value.is_meta());
}

TEST(StateDictTest, StrictReportsMissingAndUnexpectedKeys) {
  const models::ModulePtr model = TwoLinears();
  StateDict given = CloneOf(SaveStateDict(*model));
  given[1].first = "0.bais";
  given.emplace_back("2.weight", at::ones({1}));
  EXPECT_EQ(LoadError(*model, given),
            "RuntimeError: Error(s) in loading state_dict for Sequential:\n"
            "\tMissing key(s) in state_dict: \"0.bias\". \n"
            "\tUnexpected key(s) in state_dict: \"2.weight\", \"0.bais\". ");
  const LoadResult result = LoadStateDict(*model, given, {.strict = false});
  EXPECT_THAT(result.missing_keys, ElementsAre("0.bias"));
  EXPECT_THAT(result.unexpected_keys, ElementsAre("2.weight", "0.bais"));
}

TEST(StateDictTest, AWrongShapeIsAnErrorEvenWithoutStrict) {
  const models::ModulePtr model = TwoLinears();
  StateDict given = CloneOf(SaveStateDict(*model));
  given[1].second = at::ones({4});
  EXPECT_EQ(LoadError(*model, given, {.strict = false}),
            "RuntimeError: Error(s) in loading state_dict for Sequential:\n"
            "\tsize mismatch for 0.bias: copying a param with shape torch.Size([4]) from checkpoint, the shape in "
            "current model is torch.Size([3]).");
}

TEST(StateDictTest, AnEntryThatIsNoTensorIsAnError) {
  const models::ModulePtr model = TwoLinears();
  StateDict given = CloneOf(SaveStateDict(*model));
  given[1].second = NotATensor{"int"};
  EXPECT_THAT(LoadError(*model, given), HasSubstr("expected torch.Tensor or Tensor-like object from checkpoint but "
                                                  "received <class 'int'>"));
}

TEST(StateDictTest, HooksRunBeforeMembersAndAfterChildren) {
  const models::ModulePtr model = TwoLinears();
  std::string order;
  model->pre_load_hooks().push_back([&] { order += "a"; });
  model->child("0")->pre_load_hooks().push_back([&] { order += "b"; });
  model->child("0")->post_load_hooks().push_back([&] { order += "c"; });
  model->post_load_hooks().push_back([&] { order += "d"; });
  model->pre_save_hooks().push_back([&] { order += "s"; });
  LoadStateDict(*model, CloneOf(SaveStateDict(*model)));
  EXPECT_EQ(order, "sabcd");
}

}  // namespace
}  // namespace shardcts::reference
