#include "storage/dtype_fit.h"

#include <ATen/ATen.h>

namespace shardcts::reference {
namespace {

bool Holds(at::ScalarType floating, at::ScalarType integral) {
  const at::ScalarType real = c10::toRealValueType(floating);
  const int64_t digits = real == at::kDouble ? 53 : real == at::kFloat ? 24 : real == at::kHalf ? 11 : 8;
  const auto bits = static_cast<int64_t>(8 * c10::elementSize(integral)) - (c10::isSignedType(integral) ? 1 : 0);
  return integral == at::kBool || bits <= digits;
}

}  // namespace

// Float8 types, which LibTorch promotes to nothing, fit into all larger floats with their exponents.
bool FitsInto(at::ScalarType saved, at::ScalarType held) {
  if (saved == held) return true;
  const bool to_floats = c10::isFloatingType(held) || c10::isComplexType(held);
  if (c10::isIntegralType(saved, /*includeBool=*/true) && to_floats && !c10::isFloat8Type(held)) return Holds(held, saved);
  if (c10::isFloat8Type(held)) return false;
  if (c10::isFloat8Type(saved)) {
    return c10::isFloatingType(held) && (held != at::kHalf || saved != at::kFloat8_e8m0fnu);
  }
  return at::promote_types(saved, held) == held;
}

}  // namespace shardcts::reference
