#include "serialization/value_bytes.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using ::testing::HasSubstr;

constexpr RankOfWorld kHere{1, 2};

Dict Example() {
  ShardedTensor sharded;
  sharded.shape = {3};
  sharded.ranks = {0, 1};
  sharded.metadata = {{{0}, {2}, 0, "cpu"}, {{2}, {1}, 1, "cpu"}};
  sharded.local_shards = {{sharded.metadata[1], at::ones({1})}};
  return Dict{{"plain", at::arange(6, at::kLong).view({2, 3})},
              {"strided", at::arange(6, at::kFloat).view({2, 3}).t()},
              {"empty", at::empty({0, 3}, at::kHalf)},
              {"sharded", sharded},
              {"nested", Dict{{"list", List{1, 2.5, "text", true, nullptr}}}}};
}

std::string ErrorOf(const std::string& bytes, const RankOfWorld& reader = kHere) {
  try {
    FromBytes(bytes, reader);
  } catch (const SemanticError& error) {
    return error.kind() + ": " + error.what();
  }
  return "no error";
}

TEST(ValueBytesTest, GivesBackWhatItWasGiven) {
  const Dict given = Example();
  const Value read = FromBytes(ToBytes(given, kHere), kHere);
  EXPECT_EQ(read.AsDict().Keys(), given.Keys());
  for (const char* key : {"plain", "strided", "empty"}) {
    const at::Tensor& expected = given.At(key).AsTensor();
    EXPECT_TRUE(at::equal(read.AsDict().At(key).AsTensor(), expected)) << key;
    EXPECT_EQ(read.AsDict().At(key).AsTensor().scalar_type(), expected.scalar_type()) << key;
  }
  const ShardedTensor& sharded = read.AsDict().At("sharded").AsShardedTensor();
  EXPECT_EQ(sharded.metadata, given.At("sharded").AsShardedTensor().metadata);
  EXPECT_EQ(sharded.ranks, (std::vector<int64_t>{0, 1}));
  EXPECT_TRUE(at::equal(sharded.local_shards.at(0).tensor, at::ones({1})));
  EXPECT_EQ(ToString(read.AsDict().At("nested")), ToString(given.At("nested")));
}

TEST(ValueBytesTest, EveryTruncationAndForeignDataIsAnError) {
  const std::string whole = ToBytes(Example(), kHere);
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_THAT(ErrorOf(whole.substr(0, size)), HasSubstr("RuntimeError: state.deserialize: ")) << size;
  }
  EXPECT_THAT(ErrorOf("PK\x03\x04 a zip file, as torch.save writes it"), HasSubstr("no bytes of a state dict"));
  EXPECT_THAT(ErrorOf(whole + "x"), HasSubstr("more data"));
}

// No byte, whatever it becomes, makes it do anything but read or complain.
TEST(ValueBytesTest, ChangedBytesAreReadOrRefused) {
  const std::string whole = ToBytes(Example(), kHere);
  for (size_t i = 0; i < whole.size(); ++i) {
    for (unsigned char changed : {0x00, 0x7f, 0xff}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(changed);
      EXPECT_THAT(ErrorOf(bytes), ::testing::AnyOf("no error", ::testing::StartsWith("RuntimeError: "))) << i;
    }
  }
}

TEST(ValueBytesTest, HandlesAndDeepNestingAreNotWritten) {
  const auto error_of = [](const Value& value) -> std::string {
    try {
      ToBytes(value, kHere);
    } catch (const SemanticError& error) {
      return error.kind() + ": " + error.what();
    }
    return "no error";
  };
  EXPECT_EQ(error_of(List{Dict{{"h", Handle{"model", 1}}}}), "TypeError: cannot serialize a handle");
  Value deep = 1;
  for (int i = 0; i < 63; ++i) deep = List{deep};
  EXPECT_EQ(error_of(deep), "no error");
  EXPECT_THAT(error_of(List{deep}), HasSubstr("RuntimeError: state.serialize: a value nested more than 64 deep"));
}

TEST(ValueBytesTest, AShardedTensorBelongsToItsRankAndWorld) {
  const std::string bytes = ToBytes(Example(), kHere);
  EXPECT_THAT(ErrorOf(bytes, {0, 2}),
              HasSubstr("RuntimeError: Global rank at save time was 1, but at load time was 0"));
  EXPECT_THAT(ErrorOf(bytes, {1, 4}), HasSubstr("RuntimeError: Global world size at save time was 2"));
  EXPECT_EQ(ErrorOf(ToBytes(Dict{{"plain", at::ones({2})}}, kHere), {0, 4}), "no error");
}

}  // namespace
}  // namespace shardcts::reference
