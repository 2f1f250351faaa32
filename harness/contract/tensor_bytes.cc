#include "contract/tensor_bytes.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "contract/value.h"

namespace shardcts {
namespace {

struct NamedDtype {
  const char* name;
  at::ScalarType dtype;
};
constexpr NamedDtype kDtypes[] = {{"float32", at::kFloat},
                                  {"float64", at::kDouble},
                                  {"float16", at::kHalf},
                                  {"bfloat16", at::kBFloat16},
                                  {"int64", at::kLong},
                                  {"int32", at::kInt},
                                  {"int16", at::kShort},
                                  {"int8", at::kChar},
                                  {"uint8", at::kByte},
                                  {"uint16", at::kUInt16},
                                  {"uint32", at::kUInt32},
                                  {"uint64", at::kUInt64},
                                  {"bool", at::kBool},
                                  {"float8_e4m3fn", at::kFloat8_e4m3fn},
                                  {"float8_e5m2", at::kFloat8_e5m2},
                                  {"float8_e4m3fnuz", at::kFloat8_e4m3fnuz},
                                  {"float8_e5m2fnuz", at::kFloat8_e5m2fnuz},
                                  {"float8_e8m0fnu", at::kFloat8_e8m0fnu},
                                  {"complex32", at::kComplexHalf},
                                  {"complex64", at::kComplexFloat},
                                  {"complex128", at::kComplexDouble}};

constexpr size_t kMaxDims = 64;  // LibTorch's own limit

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::array<int8_t, 256> MakeReverseAlphabet() {
  std::array<int8_t, 256> reverse;
  reverse.fill(-1);
  for (int i = 0; i < 64; ++i) reverse[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
  return reverse;
}

}  // namespace

std::string DtypeName(at::ScalarType dtype) {
  for (const NamedDtype& entry : kDtypes) {
    if (entry.dtype == dtype) return entry.name;
  }
  return c10::toString(dtype);
}

std::optional<at::ScalarType> ParseDtype(std::string_view name) {
  for (const NamedDtype& entry : kDtypes) {
    if (name == entry.name) return entry.dtype;
  }
  return std::nullopt;
}

at::Tensor ContiguousOnCpu(const at::Tensor& tensor) { return tensor.detach().cpu().contiguous(); }

std::string_view BytesView(const at::Tensor& contiguous) {
  if (contiguous.numel() == 0) return {};
  return {static_cast<const char*>(contiguous.const_data_ptr()), contiguous.nbytes()};
}

std::string TensorBytes(const at::Tensor& tensor) {
  return tensor.is_meta() ? std::string() : std::string(BytesView(ContiguousOnCpu(tensor)));
}

size_t CheckedSize(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  size_t size = c10::elementSize(dtype);
  size_t elements = 1;  // were no length 0
  if (shape.size() > kMaxDims) throw ContractViolation(fmt::format("a shape of {} dimensions", shape.size()));
  for (int64_t length : shape) {
    if (length < 0 || __builtin_mul_overflow(elements, std::max<size_t>(static_cast<size_t>(length), 1), &elements) ||
        elements > static_cast<size_t>(INT64_MAX) / c10::elementSize(dtype)) {
      throw ContractViolation(fmt::format("impossible shape {}", ShapeToString(shape)));
    }
    size *= static_cast<size_t>(length);
  }
  return size;
}

at::Tensor TensorFromBytes(std::string_view bytes, const std::vector<int64_t>& shape, at::ScalarType dtype) {
  const size_t expected = CheckedSize(shape, dtype);
  if (expected != bytes.size()) {
    throw ContractViolation(fmt::format("{} of shape {} needs {} bytes, {} given", DtypeName(dtype),
                                        ShapeToString(shape), expected, bytes.size()));
  }
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(dtype));
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

std::string Digest(std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string Base64Encode(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4, '=');
  char* next = text.data();
  const auto byte = [&bytes](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])); };
  const auto write = [&next](uint32_t group, size_t digits) {
    for (size_t k = 0; k < digits; ++k) *next++ = kAlphabet[group >> (18 - 6 * k) & 63];
  };
  size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) write(byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2), 4);
  if (i + 1 == bytes.size()) write(byte(i) << 16, 2);
  if (i + 2 == bytes.size()) write(byte(i) << 16 | byte(i + 1) << 8, 3);
  return text;
}

std::optional<std::string> Base64Decode(std::string_view text) {
  static const std::array<int8_t, 256> kReverse = MakeReverseAlphabet();
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    const bool last = i + 4 == text.size();
    const size_t padding = last ? (text[i + 3] == '=') + (text[i + 3] == '=' && text[i + 2] == '=') : 0;
    uint32_t group = 0;
    for (size_t k = 0; k < 4; ++k) {
      const int8_t digit = k >= 4 - padding ? int8_t{0} : kReverse[static_cast<unsigned char>(text[i + k])];
      if (digit < 0) return std::nullopt;
      group = group << 6 | static_cast<uint32_t>(digit);
    }
    for (size_t k = 0; k < 3 - padding; ++k) bytes += static_cast<char>(group >> (16 - 8 * k) & 255);
  }
  return bytes;
}

}  // namespace shardcts
