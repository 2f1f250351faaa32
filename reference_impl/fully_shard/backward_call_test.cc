#include "fully_shard/backward_call.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "fully_shard/storage.h"

namespace shardcts::reference {
namespace {

TEST(BackwardCallTest, CallbacksRunBeforeWithinAndAfterBackward) {
  std::string order;
  const at::Tensor weight = at::ones({2}).set_requires_grad(true);
  at::Tensor input = at::ones({2}).set_requires_grad(true);
  const at::Tensor passed = CallWhenGradientPassed(input, [&] { order += weight.grad().defined() ? "b" : "?"; });
  const at::Tensor output = passed * weight;
  CallBeforeBackwardOf(output, [&] {
    order += "a";
    CallAfterBackward([&] { order += "c"; });
  });
  output.sum().backward();
  EXPECT_EQ(order, "abc");
  EXPECT_TRUE(at::equal(input.grad(), at::ones({2})));
}

TEST(BackwardCallTest, WithoutGradientNothingIsPlaced) {
  const at::Tensor input = at::ones({2});
  EXPECT_TRUE(CallWhenGradientPassed(input, [] { FAIL(); }).is_same(input));
  CallBeforeBackwardOf(input, [] { FAIL(); });
}

TEST(StorageTest, FreeingKeepsAliasesAndRefillingReachesThem) {
  const at::Tensor buffer = at::ones({6});
  at::Tensor leaf = buffer.as_strided({2, 2}, {2, 1}, 0).variable_data().set_requires_grad(true);
  const at::Tensor loss = (leaf * leaf).sum();
  FreeStorage(buffer);
  EXPECT_EQ(StorageBytes(leaf), 0u);
  AllocateStorage(buffer);
  at::Tensor(buffer).copy_(at::arange(6, at::kFloat));
  loss.backward();  // autograd accepts what was saved: the leaf's version did not change
  EXPECT_TRUE(at::equal(leaf.grad(), 2 * at::arange(4, at::kFloat).view({2, 2})));
}

}  // namespace
}  // namespace shardcts::reference
