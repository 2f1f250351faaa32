#include "contract/json_codec.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "contract/compare.h"
#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

Value RoundTrip(const Value& value) { return Decode(Json::parse(Encode(value).dump())); }

TEST(JsonCodec, EveryKindOfValueRoundTrips) {
  const MeshLayout mesh{"cpu", {2, 1}, {"dp", "tp"}, {0, 1}};
  DTensor dtensor{
      at::rand({2, 3}), mesh, {Placement::StridedShard(0, 2), Placement::Shard(0)}, {4, 3}, {3, 1}, true, true};
  ShardedTensor sharded{{4}, {{{0}, {2}, 0, "cpu"}, {{2}, {2}, 1, "cpu"}}, {{{{0}, {2}, 0, "cpu"}, at::rand({2})}}};
  const Value value(Dict{{"none", nullptr},
                         {"bool", true},
                         {"int", int64_t{1} << 60},
                         {"double", 0.1},
                         {"whole", 2.0},
                         {"nan", std::nan("")},
                         {"inf", -INFINITY},
                         {"dollar", "$x"},
                         {"bytes", Bytes{std::string("\0\xff x", 4)}},
                         {"list", List{1, List{}, Dict{}}},
                         {"ints", Dict{{int64_t{0}, "a"}, {"0", "b"}}},
                         {"$odd", 1},
                         {"tensor", at::rand({3}).to(at::kBFloat16)},
                         {"empty", at::empty({0, 8})},
                         {"scalar", at::scalar_tensor(int64_t{5}, at::kLong)},
                         {"dtensor", dtensor},
                         {"sharded", sharded},
                         {"handle", Handle{"model", 3}}});
  const Comparison comparison =
      Compare(value, RoundTrip(value), {.requires_grad = true, .device = true, .handles = true});
  EXPECT_TRUE(comparison.Equal()) << comparison.Explain();
}

TEST(JsonCodec, DoubleStaysDouble) { EXPECT_EQ(RoundTrip(Value(2.0)).type(), Value::Type::kDouble); }

TEST(JsonCodec, LargerTensorsHaveADigestWhoseBytesAreKeptElsewhere) {
  std::map<std::string, std::string> kept;
  const EncodeOptions options{.largest_data = 8, .keep = [&kept](const std::string& digest, std::string_view bytes) {
                                kept.emplace(digest, bytes);
                                return true;
                              }};
  const Value value(List{at::ones({2}), at::ones({4}), at::ones({4})});
  const Json json = Encode(value, options);
  EXPECT_TRUE(json[0]["$tensor"].contains("data"));
  EXPECT_FALSE(json[0]["$tensor"].contains("digest"));
  EXPECT_FALSE(json[1]["$tensor"].contains("data"));
  EXPECT_EQ(kept.size(), 1u);
  const auto bytes = [&kept](const std::string& digest, size_t size) {
    EXPECT_EQ(size, 16u);
    return kept.at(digest);
  };
  EXPECT_TRUE(Compare(value, Decode(json, {.resolve = {}, .bytes = bytes})).Equal());
}

TEST(JsonCodec, BytesThatAreNotKeptCannotBeRead) {
  const Json json = Encode(Value(at::zeros({100})), {.largest_data = 8});
  EXPECT_EQ(json["$tensor"]["kept"], false);
  const DecodeOptions options{.resolve = {}, .bytes = [](const std::string&, size_t) { return std::string(400, 0); }};
  EXPECT_THROW(Decode(json, options), ContractViolation);
}

TEST(JsonCodec, EveryDtypeIsReadByTheNameThatIsWritten) {
  for (const at::ScalarType dtype :
       {at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kFloat8_e4m3fnuz, at::kFloat8_e5m2fnuz, at::kFloat8_e8m0fnu,
        at::kUInt16, at::kUInt32, at::kUInt64, at::kComplexHalf, at::kHalf, at::kBool}) {
    EXPECT_EQ(RoundTrip(Value(at::empty({3}, at::TensorOptions().dtype(dtype)))).AsTensor().scalar_type(), dtype);
  }
}

TEST(JsonCodec, OriginsBecomeReferences) {
  Value state(Dict{{"0.weight", at::ones({1})}});
  SetOrigin(state, 4);
  const Json json = Encode(Value(Dict{{"sd", Dict{{"w", state.AsDict().At("0.weight")}}}}), {.references = true});
  EXPECT_EQ(json["sd"]["w"].dump(), R"({"$ref":[4,"0.weight"]})");
}

TEST(JsonCodec, MetaTensorsHaveNoBytes) {
  const Value value(at::empty({2, 3}, at::TensorOptions().device(at::kMeta)));
  EXPECT_FALSE(Encode(value)["$tensor"].contains("digest"));
  EXPECT_TRUE(RoundTrip(value).AsTensor().is_meta());
}

TEST(JsonCodec, BadTextsNameThePlace) {
  const auto message = [](const char* text) {
    try {
      Decode(Json::parse(text));
      return std::string("accepted");
    } catch (const ContractViolation& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(message(R"({"a": [1, {"$what": 2}]})"), "a[1]: unknown kind of value \"$what\"");
  EXPECT_EQ(message(R"({"a": "$ref"})"), "a: a reference is not allowed here");
  EXPECT_EQ(message(R"({"$bytes": "abc"})"), "value: not base64");
  EXPECT_EQ(message(R"({"t": {"$tensor": {"shape": [2], "dtype": "float32", "data": "AAAA"}}})"),
            "float32 of shape (2,) needs 8 bytes, 3 given");
  EXPECT_NE(message(R"({"t": {"$tensor": {"shape": [-1], "dtype": "float32", "data": "AAAA"}}})"), "accepted");
  EXPECT_NE(message(R"({"t": {"$tensor": {"shape": [4611686018427387904, 4], "dtype": "float32", "data": ""}}})"),
            "accepted");
  EXPECT_NE(message(R"({"t": {"$tensor": {"dtype": "float32"}}})"), "accepted");
  EXPECT_EQ(message(R"({"t": {"$tensor": {"shape": [2], "dtype": "float32"}}})"), "t: a tensor without data");
  EXPECT_EQ(message(R"({"t": {"$tensor": {"shape": [2.5], "dtype": "float32", "data": ""}}})"),
            "t: not an integer of 64 bits: 2.5");
  EXPECT_EQ(message("9223372036854775808"), "value: not an integer of 64 bits: 9223372036854775808");
  EXPECT_EQ(message(R"({"$handle": "model:x"})"), "value: not a handle: \"model:x\"");
}

TEST(Base64, RoundTripsEveryLength) {
  for (size_t length = 0; length < 10; ++length) {
    const std::string bytes = std::string("\0\xff\x80 abcdefg", 11).substr(0, length);
    EXPECT_EQ(Base64Decode(Base64Encode(bytes)), bytes);
  }
  EXPECT_EQ(Base64Decode("a=b="), std::nullopt);
}

}  // namespace
}  // namespace shardcts
