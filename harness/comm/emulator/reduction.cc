#include "comm/emulator/reduction.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace shardcts::nccl_emulator {
namespace {

float Load(__half value) { return __half2float(value); }
float Load(__nv_bfloat16 value) { return __bfloat162float(value); }
void Store(float value, __half& to) { to = __float2half_rn(value); }
void Store(float value, __nv_bfloat16& to) { to = __float2bfloat16_rn(value); }

template <class T>
requires std::is_arithmetic_v<T> T Load(T value) { return value; }
template <class T>
void Store(T value, T& to) {
  to = value;
}

// Integers wrap around.
template <class T>
T Add(T a, T b) {
  if constexpr (std::is_integral_v<T>) return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  return a + b;
}
template <class T>
T Multiply(T a, T b) {
  if constexpr (std::is_integral_v<T>) return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  return a * b;
}

template <class T>
T Combine(ncclRedOp_t op, T a, T b) {
  switch (op) {
    case ncclProd: return Multiply(a, b);
    case ncclMax: return std::max(a, b);
    case ncclMin: return std::min(a, b);
    default: return Add(a, b);
  }
}

template <class Stored>
void ReduceAs(ncclRedOp_t op, const char* bytes, int parts, size_t count, char* output) {
  using Value = decltype(Load(Stored{}));
  const auto* rows = reinterpret_cast<const Stored*>(bytes);
  auto* results = reinterpret_cast<Stored*>(output);
  const bool quotients = op == ncclAvg && !std::is_integral_v<Value>;
  Stored reciprocal{};
  if (quotients) Store(static_cast<Value>(Value{1} / static_cast<Value>(parts)), reciprocal);
  for (size_t i = 0; i < count; ++i) {
    Stored total{};
    for (int part = 0; part < parts; ++part) {
      Value value = Load(rows[part * count + i]);
      if (quotients) value = static_cast<Value>(value * Load(reciprocal));
      Store(part == 0 ? value : Combine<Value>(op, Load(total), value), total);
    }
    if (op == ncclAvg && !quotients) Store(static_cast<Value>(Load(total) / static_cast<Value>(parts)), total);
    results[i] = total;
  }
}

}  // namespace

size_t ElementSize(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8: return 1;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32: return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64: return 8;
    default: return 0;
  }
}

void Reduce(ncclDataType_t type, ncclRedOp_t op, const char* rows, int parts, size_t count, char* output) {
  switch (type) {
    case ncclInt8: return ReduceAs<int8_t>(op, rows, parts, count, output);
    case ncclUint8: return ReduceAs<uint8_t>(op, rows, parts, count, output);
    case ncclInt32: return ReduceAs<int32_t>(op, rows, parts, count, output);
    case ncclUint32: return ReduceAs<uint32_t>(op, rows, parts, count, output);
    case ncclInt64: return ReduceAs<int64_t>(op, rows, parts, count, output);
    case ncclUint64: return ReduceAs<uint64_t>(op, rows, parts, count, output);
    case ncclFloat16: return ReduceAs<__half>(op, rows, parts, count, output);
    case ncclBfloat16: return ReduceAs<__nv_bfloat16>(op, rows, parts, count, output);
    case ncclFloat32: return ReduceAs<float>(op, rows, parts, count, output);
    case ncclFloat64: return ReduceAs<double>(op, rows, parts, count, output);
    default: return;  // ElementSize has refused it
  }
}

}  // namespace shardcts::nccl_emulator
