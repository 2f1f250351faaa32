#include "fsdp/lent_memory.h"

#include <ATen/core/grad_mode.h>

#include "fsdp/units_beside_twins.h"

namespace shardcts::reference {
namespace {

TEST(LentMemoryTest, WhatComesBackIsUsedAgain) {
  const auto memory = std::make_shared<LentMemory>();
  at::Tensor whole = memory->Take(1000, at::kFloat);
  const void* place = whole.data_ptr();
  at::Tensor view = whole.narrow(0, 10, 5);
  whole = at::Tensor();
  EXPECT_EQ(memory->KeptBytes(), 0u) << "a view is left";
  view = at::Tensor();
  EXPECT_EQ(memory->KeptBytes(), 4000u);
  whole = memory->Take(1000, at::kFloat);
  EXPECT_EQ(whole.data_ptr(), place);
  EXPECT_NE(memory->Take(1000, at::kFloat).data_ptr(), place) << "it is in use";
}

TEST(LentMemoryTest, ServesOnlyTensorsOfItsKind) {
  const auto memory = std::make_shared<LentMemory>();
  for (const auto& [numel, dtype] :
       {std::pair{1000, at::kFloat}, {1000, at::kDouble}, {0, at::kDouble}, {7, at::kHalf}}) {
    const at::Tensor whole = memory->Take(numel, dtype);
    EXPECT_EQ(whole.sizes(), at::IntArrayRef({numel}));
    EXPECT_EQ(whole.scalar_type(), dtype);
  }
  EXPECT_EQ(memory->KeptBytes(), 14u) << "of the last one alone";
  memory->Release();
  EXPECT_EQ(memory->KeptBytes(), 0u);
}

TEST(LentMemoryTest, TensorsOutliveIt) {
  auto memory = std::make_shared<LentMemory>();
  const at::Tensor whole = memory->Take(1000, at::kFloat).fill_(3);
  memory.reset();
  EXPECT_EQ(whole.sum().item<float>(), 3000);
}

TEST(LentMemoryTest, OneStateDictDoesNotTouchAnother) {
  const auto [model, twin] = NestedModel(OverTheWorld());
  const StateDict first = SaveStateDict(*model);
  std::vector<at::Tensor> expected;
  for (const auto& [name, value] : first) expected.push_back(std::get<at::Tensor>(value).clone());
  at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : models::NamedParameters(*model)) parameter->value.fill_(7);
  const StateDict second = SaveStateDict(*model);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(at::equal(std::get<at::Tensor>(first[i].second), expected[i])) << first[i].first;
    EXPECT_TRUE((std::get<at::Tensor>(second[i].second) == 7).all().item<bool>()) << second[i].first;
  }
}

}  // namespace
}  // namespace shardcts::reference
