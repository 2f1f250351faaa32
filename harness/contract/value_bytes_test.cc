#include "contract/value_bytes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "contract/compare.h"

namespace shardcts {
namespace {

Value EveryKind() {
  const MeshLayout mesh{"cpu", {2, 1}, {"dp", "tp"}, {0, 1}};
  const DTensor dtensor{
      at::rand({2, 3}), mesh, {Placement::StridedShard(0, 2), Placement::Partial("avg")}, {4, 3}, {3, 1}, true, true};
  const ShardedTensor sharded{{4},
                              {{{0}, {2}, 0, "cpu"}, {{2}, {2}, 1, "cuda:1"}},
                              {{{{0}, {2}, 0, "cpu"}, at::rand({2})}},
                              at::kBFloat16,
                              {1, 0}};
  return Dict{{"none", nullptr},
              {"bool", true},
              {"int", int64_t{-1} << 60},
              {"double", 0.1},
              {"nan", std::nan("")},
              {"dollar", "$x"},
              {"bytes", Bytes{std::string("\0\xff x", 4)}},
              {"list", List{1, List{}, Dict{}}},
              {"ints", Dict{{int64_t{0}, "a"}, {"0", "b"}}},
              {"tensor", at::rand({3}).to(at::kBFloat16)},
              {"column", at::rand({3, 2}).t()},
              {"parameter", Tensor{at::rand({2}).set_requires_grad(true), true}},
              {"empty", at::empty({0, 8})},
              {"scalar", at::scalar_tensor(int64_t{5}, at::kLong)},
              {"meta", at::empty({2, 3}, at::TensorOptions().device(at::kMeta))},
              {"dtensor", dtensor},
              {"sharded", sharded},
              {"handle", Handle{"model", 3}}};
}

TEST(ValueBytesTest, EveryKindOfValueComesBack) {
  const Value value = EveryKind();
  const Comparison comparison = Compare(value, UnpackValue(PackValue(value)),
                                        {.requires_grad = true, .device = true, .handles = true});
  EXPECT_TRUE(comparison.Equal()) << comparison.Explain();
}

TEST(ValueBytesTest, SharesNoTensor) {
  const at::Tensor tensor = at::ones({2});
  const Value copy = UnpackValue(PackValue(tensor));
  tensor.zero_();
  EXPECT_TRUE(at::equal(copy.AsTensor(), at::ones({2})));
}

TEST(ValueBytesTest, WhatIsTruncatedOrTooLongIsRefused) {
  const std::string bytes = PackValue(EveryKind());
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THROW(UnpackValue(std::string_view(bytes).substr(0, length)), ContractViolation) << length;
  }
  EXPECT_THROW(UnpackValue(bytes + "x"), ContractViolation);
}

TEST(ValueBytesTest, UndefinedTensorIsRefused) { EXPECT_THROW(PackValue(Value(at::Tensor())), ContractViolation); }

}  // namespace
}  // namespace shardcts
