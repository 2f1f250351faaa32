#include "rank/whole.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "inventory/inventory.h"
#include "rank/testing/lone_rank.h"

namespace shardcts {
namespace {

class WholeTest : public testing::Test {
 protected:
  static DTensor OnOneRank(const at::Tensor& local, const std::vector<int64_t>& shape) {
    DTensor value;
    value.local = local;
    value.mesh = {"cpu", {1}, {}, {0}};
    value.placements = {Placement::Shard(0)};
    value.shape = shape;
    value.stride = std::vector<int64_t>(shape.size(), 1);
    return value;
  }
  static ShardedTensor ShardedOnOneRank(const at::Tensor& local) {
    ShardedTensor value;
    value.shape = local.sizes().vec();
    value.metadata = {{std::vector<int64_t>(value.shape.size(), 0), value.shape, 0, "cpu"}};
    value.local_shards = {{value.metadata[0], local}};
    value.ranks = {0};
    return value;
  }

  LoneRank rank_{[](std::string_view, const Dict&) -> Outcome { return Error{"RuntimeError", "not asked for"}; }};
  TestCase test_{.id = "suite/Class.test_x/world_size=1"};
  Trial t_{test_, rank_.session()};
};

TEST_F(WholeTest, DistributedTensorsAtAnyDepthBecomePlain) {
  const at::Tensor a = at::arange(6, at::kFloat), b = at::arange(3, at::kFloat), c = at::ones({2});
  const Dict tree{{"a", OnOneRank(a, {6})}, {"deep", List{Dict{{"b", ShardedOnOneRank(b)}}, c, 3}}};
  const Dict whole = WholeDict(t_, tree);
  EXPECT_TRUE(at::equal(whole.At("a").AsTensor(), a));
  const List deep = whole.At("deep").AsList();
  EXPECT_TRUE(at::equal(deep[0].AsDict().At("b").AsTensor(), b));
  EXPECT_TRUE(deep[1].AsTensor().is_same(c));
  EXPECT_EQ(deep[2].AsInt(), 3);
  EXPECT_FALSE(t_.failed());
}

TEST_F(WholeTest, PartsThatAreNoWholeFailTheTestAndStay) {
  const Dict whole = WholeDict(t_, {{"layer", Dict{{"w", OnOneRank(at::zeros({2}), {3})}}}});
  EXPECT_EQ(whole.At("layer").AsDict().At("w").type(), Value::Type::kDTensor);
  ASSERT_EQ(t_.failures().size(), 1u);
  EXPECT_EQ(t_.failures()[0].message, "layer/w: no whole tensor: the ranks hold 2 elements of 3");
}

TEST_F(WholeTest, TreeThatIsOneTensor) {
  EXPECT_TRUE(at::equal(Whole(t_, OnOneRank(at::ones({2}), {2})).AsTensor(), at::ones({2})));
  Whole(t_, OnOneRank(at::zeros({2}), {3}));
  ASSERT_EQ(t_.failures().size(), 1u);
  EXPECT_EQ(t_.failures()[0].message, "no whole tensor: the ranks hold 2 elements of 3");
}

TEST_F(WholeTest, GradientsStayBehind) {
  const at::Tensor local = at::ones({2}).set_requires_grad(true);
  EXPECT_FALSE(Whole(t_, OnOneRank(local, {2})).AsTensor().requires_grad());
}

TEST_F(WholeTest, AllGatherKeepsValuesAndSharesNoTensor) {
  const at::Tensor ones = at::ones({2});
  const Value sent = Dict{{"one", ones}, {"again", at::ones({2})}, {"empty", at::empty({0, 3})}, {"text", "$x"}};
  const Dict got = t_.AllGather(sent).front().AsDict();
  EXPECT_TRUE(at::equal(got.At("one").AsTensor(), ones));
  EXPECT_TRUE(at::equal(got.At("again").AsTensor(), ones));
  EXPECT_FALSE(got.At("one").AsTensor().is_alias_of(ones));
  EXPECT_EQ(got.At("empty").AsTensor().sizes().vec(), (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(got.At("text").AsString(), "$x");
}

}  // namespace
}  // namespace shardcts
