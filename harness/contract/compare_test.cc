#include "contract/compare.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace shardcts {
namespace {

DTensor Sharded(at::Tensor local, std::vector<Placement> placements) {
  return {std::move(local), {"cpu", {2}, {}, {0, 1}}, std::move(placements), {4}, {1}};
}

TEST(Compare, EqualValues) {
  const Value value(Dict{{"a", at::arange(4)}, {"b", List{1, 2.5, "x", nullptr}}});
  const Comparison comparison = Compare(value, value);
  EXPECT_TRUE(comparison.Equal());
  EXPECT_EQ(comparison.tensors, 1);
  EXPECT_EQ(comparison.identical, 1);
  EXPECT_EQ(comparison.Explain(), "");
}

TEST(Compare, NanEqualsNanButItsBitsCount) {
  const at::Tensor nan = at::full({1}, std::nan(""));
  EXPECT_TRUE(CompareTensors(nan, nan.clone()).Equal());
  at::Tensor other = nan.clone();
  static_cast<uint32_t*>(other.data_ptr())[0] ^= 1;
  EXPECT_FALSE(CompareTensors(nan, other).Equal());
  EXPECT_TRUE(CompareTensors(nan, other, {.tolerance = {1e-6, 0}}).Equal());
}

TEST(Compare, SignOfZeroIsABitDifference) {
  EXPECT_FALSE(CompareTensors(at::full({1}, 0.0), at::full({1}, -0.0)).Equal());
}

TEST(Compare, NamesFirstIndexAndBothValues) {
  at::Tensor actual = at::zeros({2, 3});
  actual[1][2] = 4.5;
  const Comparison comparison =
      Compare(Value(Dict{{"0.weight", at::zeros({2, 3})}}), Value(Dict{{"0.weight", actual}}));
  EXPECT_EQ(comparison.Explain(),
            "0.weight: index (1, 2): expected 0, actual 4.5 (1 of 6 elements differ, largest difference 4.5)");
}

TEST(Compare, WithinToleranceIsCloseAndEqual) {
  const Comparison comparison =
      CompareTensors(at::full({2}, 1.0), at::full({2}, 1.0 + 1e-6), {.dtype_default_tolerance = true});
  EXPECT_TRUE(comparison.Equal());
  EXPECT_EQ(comparison.close, 1);
  ASSERT_EQ(comparison.differences.size(), 1u);
  EXPECT_EQ(comparison.differences[0].kind, Difference::Kind::kClose);
}

TEST(Compare, BeyondToleranceIsDifferent) {
  EXPECT_FALSE(CompareTensors(at::full({2}, 1.0), at::full({2}, 1.001), {.dtype_default_tolerance = true}).Equal());
  EXPECT_FALSE(CompareTensors(at::full({2}, INFINITY), at::full({2}, 1.0), {.dtype_default_tolerance = true}).Equal());
  EXPECT_TRUE(
      CompareTensors(at::full({2}, INFINITY), at::full({2}, INFINITY), {.dtype_default_tolerance = true}).Equal());
}

TEST(Compare, KeysAndTheirOrder) {
  const Value expected(Dict{{"a", 1}, {"b", 2}});
  EXPECT_EQ(Compare(expected, Value(Dict{{"b", 2}, {"a", 1}})).Explain(),
            "order of keys: expected [\"a\", \"b\"], actual [\"b\", \"a\"]");
  EXPECT_EQ(Compare(expected, Value(Dict{{"a", 1}})).Explain(), "b: expected key is missing");
  EXPECT_EQ(Compare(Value(Dict{{int64_t{0}, 1}}), Value(Dict{{"0", 1}})).Explain(),
            "0: expected key is missing: it is an int, and there as text");
  EXPECT_EQ(Compare(Value(Dict{{"0", 1}}), Value(Dict{{int64_t{0}, 1}})).Explain(),
            "0: expected key is missing: it is text, and there as an int");
  EXPECT_EQ(Compare(expected, Value(Dict{{"a", 1}, {"b", 2}, {"c", 3}})).Explain(), "c: unexpected key");
}

TEST(Compare, PlacementShapeDtypeAreStructural) {
  const Value expected(Sharded(at::zeros({2}), {Placement::Shard(0)}));
  const Comparison placement = Compare(expected, Value(Sharded(at::zeros({2}), {Placement::Replicate()})));
  EXPECT_EQ(placement.Explain(), "placements: expected [S(0)], actual [R]");
  EXPECT_EQ(placement.differences[0].kind, Difference::Kind::kStructural);
  EXPECT_EQ(Compare(expected, Value(Sharded(at::zeros({3}), {Placement::Shard(0)}))).Explain(),
            "shape: expected (2,), actual (3,)");
  EXPECT_EQ(Compare(expected, Value(Sharded(at::zeros({2}, at::kHalf), {Placement::Shard(0)}))).Explain(),
            "dtype: expected float32, actual float16");
}

TEST(Compare, PlainTensorAgainstDTensorIsStructural) {
  EXPECT_FALSE(Compare(Value(at::zeros({2})), Value(Sharded(at::zeros({2}), {Placement::Shard(0)}))).Equal());
}

TEST(Compare, EmptyAndZeroDimensionalTensors) {
  EXPECT_TRUE(CompareTensors(at::empty({0, 8}), at::empty({0, 8})).Equal());
  EXPECT_FALSE(CompareTensors(at::empty({0, 8}), at::empty({0, 4})).Equal());
  EXPECT_EQ(CompareTensors(at::scalar_tensor(1), at::scalar_tensor(2)).Explain(),
            "index (): expected 1, actual 2 (1 of 1 elements differ, largest difference 1)");
}

TEST(Compare, ParameterFlagOnlyWhenAsked) {
  const Value expected(Tensor{at::zeros({1}), true});
  const Value actual(Tensor{at::zeros({1}), false});
  EXPECT_TRUE(Compare(expected, actual).Equal());
  EXPECT_FALSE(Compare(expected, actual, {.requires_grad = true}).Equal());
}

}  // namespace
}  // namespace shardcts
