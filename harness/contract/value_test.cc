#include "contract/value.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

TEST(Placement, TextFormRoundTrips) {
  for (const char* text : {"S(0)", "S(12)", "R", "P(sum)", "P(avg)", "_S(1,4)"}) {
    const auto placement = Placement::Parse(text);
    ASSERT_TRUE(placement) << text;
    EXPECT_EQ(placement->ToString(), text);
  }
}

TEST(Placement, RejectsOtherTexts) {
  for (const char* text : {"", "S", "S()", "S(x)", "S(0", "r", "P()", "_S(0)", "_S(0,0)", "_S(0,)", "S(0) "}) {
    EXPECT_FALSE(Placement::Parse(text)) << text;
  }
}

TEST(MeshLayout, CoordinateIsRowMajor) {
  const MeshLayout mesh{"cpu", {2, 3}, {"dp", "tp"}, {10, 11, 12, 13, 14, 15}};
  EXPECT_EQ(mesh.Coordinate(14), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(mesh.Coordinate(3), std::nullopt);
  EXPECT_EQ(mesh.ToString(), "cpu(2x3 dp,tp)");
}

TEST(Dict, KeepsInsertionOrderAndReplaces) {
  Dict dict{{"b", 1}, {"a", 2}, {int64_t{3}, "x"}};
  dict.Set("b", 5);
  EXPECT_EQ(dict.Keys(), (std::vector<std::string>{"b", "a", "3"}));
  EXPECT_EQ(dict.At("b").AsInt(), 5);
  EXPECT_FALSE(dict.Contains("3")) << "an int key is not a string key";
  EXPECT_TRUE(dict.Erase("a"));
  EXPECT_EQ(dict.size(), 2u);
}

TEST(Value, CopiesShareTensorStorage) {
  Value value(at::zeros({2}));
  Value copy = value;
  copy.AsTensor().fill_(7);
  EXPECT_EQ(value.AsTensor()[0].item<float>(), 7);
}

TEST(Value, WrongTypeSaysWhatItIs) {
  try {
    Value(3).AsDict();
    FAIL();
  } catch (const ContractViolation& error) {
    EXPECT_STREQ(error.what(), "expected dict, got 3");
  }
}

TEST(Value, PrintsReadably) {
  DTensor dtensor{at::zeros({2, 20}), {"cpu", {4}, {}, {0, 1, 2, 3}}, {Placement::Shard(0)}, {5, 20}, {20, 1}};
  EXPECT_EQ(ToString(Value(dtensor)), "DTensor float32 (5, 20) [S(0)] on cpu(4), local (2, 20)");
  EXPECT_EQ(ToString(Value(Dict{{"a", List{1, 2.5, nullptr}}})), "{a: [1, 2.5, none]}");
  EXPECT_EQ(ToString(Value(2.0)), "2.0");
  EXPECT_EQ(ToString(Value(2)), "2");
  EXPECT_EQ(ToString(Value(at::ones({3}))), "tensor float32 (3,) cpu");
  EXPECT_LE(ToString(Value(std::string(5000, 'x'))).size(), 200u);
}

TEST(Value, OriginMarksEverythingInside) {
  Value value(Dict{{"sd", Dict{{"w", List{1, 2}}}}});
  SetOrigin(value, 7);
  const Value& inner = value.AsDict().At("sd").AsDict().At("w").AsList()[1];
  ASSERT_TRUE(inner.origin());
  EXPECT_EQ(inner.origin()->step, 7);
  EXPECT_EQ(inner.origin()->path, (std::vector<Key>{"sd", "w", int64_t{1}}));
}

}  // namespace
}  // namespace shardcts
