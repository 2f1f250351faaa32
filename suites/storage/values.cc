// Plain values, casts, partial values, and ranks that order their keys differently.
#include <ATen/ATen.h>

#include <limits>

#include "contract/json_codec.h"
#include "contract/tensor_bytes.h"
#include "suites/rules/coded.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

// Equal also where it is NaN; of the same type.
Verification SamePlain(const std::string& name, const Value& expected, const Value& actual) {
  return Equal(name, Encode(expected).dump(), Encode(actual).dump());
}

const Dict kPlain = {{"int", int64_t{1} << 60},
                     {"negative", -3},
                     {"double", 0.1},
                     {"whole", 2.0},
                     {"inf", std::numeric_limits<double>::infinity()},
                     {"nan", std::numeric_limits<double>::quiet_NaN()},
                     {"true", true},
                     {"false", false},
                     {"text", "größe \"x\"\n"},
                     {"empty", ""},
                     {"bytes", Bytes{std::string("\0\xff\x80 x", 5)}},
                     {"none", nullptr},
                     {"list", List{1, 2.5, "three", false, nullptr}}};

}  // namespace

RULE(DT5) {
  const World world = FirstRanks(t);
  world.Save({{"weight", rules::Coded({4, 3}, 1)}, {"count", rules::Coded({4}, 2, 0, at::kLong)}}, "casts");
  IsRefused(t, "float32 into bfloat16", {"weight"},
            [&] { world.Load({{"weight", at::zeros({4, 3}, at::kBFloat16)}}, "casts"); });
  for (const at::ScalarType dtype : {at::kInt, at::kFloat, at::kDouble}) {
    IsRefused(t, "int64 into " + DtypeName(dtype), {"count"},
              [&] { world.Load({{"count", at::zeros({4}, dtype)}}, "casts"); });
  }
}

RULE(DT8) {
  const World world = FirstRanks(t);
  world.Save(kPlain, "plain");
  Dict destination;
  for (const auto& [name, value] : kPlain) destination.Set(name, 0);
  const Dict loaded = world.Load(destination, "plain"), read = ReadCheckpoint(t.caller(), "plain");
  for (const auto& [name, value] : kPlain) {
    t.Rule(SamePlain(ToString(name), value, loaded.At(name)));
    t.Rule(SamePlain(ToString(name) + " read", value, read.At(name)));
  }
}

RULE(RS10) {
  const World world = FirstRanks(t);
  const at::Tensor whole = rules::Coded({4, 3}, 1);
  DTensor partial = PartOf(whole, world.layout(), PlacementsOf("R"), t.rank());
  partial.placements = PlacementsOf("P");
  bool refused = false;
  try {
    world.Save({{"partial", partial}}, "partial");
  } catch (const OperationFailed&) {
    refused = true;
  }
  if (refused) {
    t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "partial").complete));
    return;
  }
  const at::Tensor sum = whole * t.world_size();
  t.Rule(SameValue("the sum over the ranks", sum, ReadCheckpoint(t.caller(), "partial").At("partial")));
}

RULE(NM6) {
  const World world = FirstRanks(t);
  std::vector<PlacedTensor> tensors = {{"a", {5, 2}, "S0"}, {"b", {4}, "R"}, {"c", {7, 3}, "S0"}, {"d", {2}, ""}};
  const auto in_own_order = [&](const Dict& state) {
    Dict turned;
    const std::vector<std::string> names = state.Keys();
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string& name = names[(i + static_cast<size_t>(t.rank())) % names.size()];
      turned.Set(name, state.At(name));
    }
    return turned;
  };
  world.Save(in_own_order(CodedState(t, world, tensors)), "order");
  HasCoded(t, "what was loaded", world, tensors, world.Load(in_own_order(BlankState(t, world, tensors)), "order"));
  HoldsCoded(t, "what was read", tensors, "order");
}

RULE(DT9) {
  const World world = FirstRanks(t);
  struct Pair {
    at::ScalarType saved, held;
  };
  const std::vector<Pair> pairs = {{at::kFloat, at::kDouble}, {at::kHalf, at::kFloat}, {at::kBFloat16, at::kFloat},
                                   {at::kInt, at::kLong},     {at::kByte, at::kShort}, {at::kFloat, at::kComplexFloat},
                                   {at::kComplexFloat, at::kComplexDouble}};
  Dict saved, wanted, expected;
  const auto part = [&](const at::Tensor& whole) { return PartOf(whole, world.layout(), PlacementsOf("S0"), t.rank()); };
  for (const Pair& pair : pairs) {
    const std::string name = fmt::format("{} into {}", DtypeName(pair.saved), DtypeName(pair.held));
    const at::Tensor whole = rules::Coded({5, 2}, 0).remainder(100).to(pair.saved), held = whole.to(pair.held);
    saved.Set(name, whole);
    wanted.Set(name, at::zeros_like(held));
    expected.Set(name, held);
    saved.Set("part: " + name, part(whole));
    wanted.Set("part: " + name, part(at::zeros_like(held)));
    expected.Set("part: " + name, part(held));
  }
  world.Save(saved, "checkpoint");
  const Dict loaded = world.Load(wanted, "checkpoint");
  for (const auto& [name, value] : expected) t.Rule(SameValue(ToString(name), value, loaded.At(name)));
}

RULE(RT9) {
  Dict ints;
  for (const int64_t bits : {8, 16, 31, 32, 40, 62}) {
    const int64_t power = int64_t{1} << bits;
    for (const int64_t value : {power - 1, power, power + 1, -power - 1, -power, 1 - power}) {
      ints.Set(fmt::format("{}", value), value);
    }
  }
  for (const int64_t value : {INT64_MIN, INT64_MAX}) ints.Set(fmt::format("{}", value), value);
  const World world = FirstRanks(t);
  world.Save(ints, "checkpoint", {.format = FormatOf(t)});
  t.Rule(SameValue("what was read", ints, InOrderOf(ints, ReadCheckpoint(t.caller(), "checkpoint"))));
}

}  // namespace shardcts::storage
