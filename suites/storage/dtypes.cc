// Dtypes and shapes.
#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <limits>

#include "contract/tensor_bytes.h"
#include "suites/rules/coded.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

const std::vector<at::ScalarType> kDtypes = {
    at::kFloat,  at::kDouble,         at::kHalf,         at::kBFloat16,    at::kLong,           at::kInt,
    at::kShort,  at::kChar,           at::kByte,         at::kBool,        at::kUInt16,         at::kUInt32,
    at::kUInt64, at::kFloat8_e4m3fn,  at::kFloat8_e5m2,  at::kFloat8_e4m3fnuz, at::kFloat8_e5m2fnuz,
    at::kFloat8_e8m0fnu, at::kComplexFloat, at::kComplexDouble};

// Seven bit patterns of a floating dtype: a NaN with a payload, a negative NaN, -0, the smallest subnormal, infinity, 1, the
// largest number. An odd number of them: 16-bit values that are moved in pairs lose the last.
at::Tensor SpecialBits(at::ScalarType dtype) {
  if (dtype == at::kFloat) {
    const std::vector<int64_t> bits = {0x7fc12345, 0xffa54321, 0x80000000, 1, 0x7f800000, 0x3f800000, 0x7f7fffff};
    return at::tensor(bits, at::kLong).to(at::kInt).view(dtype);
  }
  if (dtype == at::kDouble) {
    const std::vector<int64_t> bits = {0x7ff8123456789abc, static_cast<int64_t>(0xfff4abcdef123456),
                                       std::numeric_limits<int64_t>::min(), 1, 0x7ff0000000000000, 0x3ff0000000000000,
                                       0x7fefffffffffffff};
    return at::tensor(bits, at::kLong).view(dtype);
  }
  const std::vector<int64_t> bits = dtype == at::kHalf
                                        ? std::vector<int64_t>{0x7e55, 0xfd2a, 0x8000, 1, 0x7c00, 0x3c00, 0x7bff}
                                        : std::vector<int64_t>{0x7fd5, 0xffaa, 0x8000, 1, 0x7f80, 0x3f80, 0x7f7f};
  return at::tensor(bits, at::kLong).to(at::kShort).view(dtype);
}

at::Tensor Sample(at::ScalarType dtype) {
  if (c10::elementSize(dtype) == 1 && at::isFloatingType(dtype)) {
    const std::vector<int64_t> bits = {0x7f, 0xff, 0x80, 1, 0x7c, 0x38, 0x40};
    return at::tensor(bits, at::kLong).to(at::kByte).view(dtype).reshape({7, 1});
  }
  if (at::isFloatingType(dtype)) return SpecialBits(dtype).reshape({7, 1});
  if (at::isComplexType(dtype)) {
    const at::Tensor real = SpecialBits(at::toRealValueType(dtype));
    return at::complex(real, real.flip(0)).reshape({7, 1});
  }
  const at::Tensor values = at::tensor({-128, 127, 0, 1, 77, -1, 5}, at::kLong);
  return values.to(dtype).reshape({7, 1});
}

// Whatever the values are: NaN is not equal to itself.
Verification SameBits(const std::string& what, const at::Tensor& expected, const at::Tensor& actual) {
  const bool same = expected.scalar_type() == actual.scalar_type() && expected.sizes() == actual.sizes() &&
                    TensorBytes(expected) == TensorBytes(actual);
  return {same, fmt::format("{}: expected the bits of {}, actual others: {}", what, ToString(expected), ToString(actual))};
}

at::Tensor ViewOf(const std::string& kind) {
  const at::Tensor base = rules::Coded({6, 8}, 1);
  if (kind == "transposed") return base.t();
  if (kind == "narrowed") return base.narrow(1, 2, 3);
  if (kind == "flipped") return base.slice(0, 1, 6, 2);
  return base.narrow(0, 0, 1).expand({5, 8});
}

}  // namespace

RULE(DT1) {
  const World world = FirstRanks(t);
  const std::vector<Placement> placements = PlacementsOf("S0");
  Dict saved, destination;
  for (at::ScalarType dtype : kDtypes) {
    const at::Tensor sample = Sample(dtype);
    saved.Set(DtypeName(dtype), PartOf(sample, world.layout(), placements, t.rank()));
    destination.Set(DtypeName(dtype), PartOf(at::ones({7, 1}).to(dtype), world.layout(), placements, t.rank()));
  }
  world.Save(saved, "dtypes");
  const Dict loaded = world.Load(destination, "dtypes"), read = ReadCheckpoint(t.caller(), "dtypes");
  for (const auto& [name, value] : saved) {
    t.Rule(SameBits(ToString(name), value.AsDTensor().local, loaded.At(name).AsDTensor().local));
    t.Rule(SameBits(ToString(name) + " read", Sample(*ParseDtype(ToString(name))), read.At(name).AsTensor()));
  }
}

RULE(DT2) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> tensors = {{"number", {}, "R"},         {"plain_number", {}, "", at::kDouble},
                                             {"flag", {}, "R", at::kBool}, {"count", {}, "", at::kLong},
                                             {"no_rows", {0, 3}, "S0"},    {"no_columns", {3, 0}, "S0"},
                                             {"nothing", {0}, ""}};
  world.Save(CodedState(t, world, tensors), "small");
  HasCoded(t, "what was loaded", world, tensors, world.Load(BlankState(t, world, tensors), "small"));
  HoldsCoded(t, "what was read", tensors, "small");
}

RULE(DT3) {
  const World world = FirstRanks(t);
  const std::string kind = t.TextParam("kind");
  if (kind == "large_storage") {
    // 16 elements of a storage of 4 MiB.
    const at::Tensor view = at::arange(int64_t{1} << 20, at::kFloat).narrow(0, 100, 16);
    world.Save({{"view", view}}, "views");
    const Dict loaded = world.Load({{"view", at::zeros({16})}}, "views");
    t.Rule(SameValue("view", view.clone(), loaded.At("view")));
    const int64_t bytes = BytesBelow(t.Folder("views"));
    t.Rule(Holds(bytes < 65536, "the checkpoint of 64 bytes", fmt::format("has {} bytes on disk", bytes)));
    return;
  }
  const at::Tensor view = ViewOf(kind);
  world.Save({{"view", view}}, "views");
  const Dict loaded = world.Load({{"view", at::zeros(view.sizes())}}, "views");
  t.Rule(SameValue("into a contiguous tensor", view.contiguous(), at::Tensor(loaded.At("view").AsTensor().contiguous())));
  if (kind == "expanded") return;  // one element of memory cannot take two values
  at::Tensor destination = ViewOf(kind);
  destination.fill_(-1);
  world.Load({{"view", destination}}, "views");
  t.Rule(SameValue("into a view", view.contiguous(), at::Tensor(destination.contiguous())));
}

RULE(DT6) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> saved = {{"first", {4, 3}, "S0"}, {"second", {6, 2}, "S0"}};
  const std::vector<std::vector<int64_t>> shapes = {{6, 3}, {12}, {7, 2}, {6, 2, 1}, {1, 6, 2}};
  world.Save(CodedState(t, world, saved), "shapes");
  for (const std::vector<int64_t>& shape : shapes) {
    const std::vector<PlacedTensor> wanted = {saved[0], {"second", shape, "S0"}};
    const Dict destination = BlankState(t, world, wanted), before = t.subject().Clone(destination).AsDict();
    const std::string text = fmt::format("{}", fmt::join(shape, ", "));
    IsRefused(t, text, {"second", "6, 2", text}, [&] { world.Load(destination, "shapes"); });
    t.Rule(SameValue("what was given", before, destination));
  }
}

}  // namespace shardcts::storage
