#include "suites/rules/coded.h"

#include <ATen/ATen.h>

#include "rank/verification.h"

namespace shardcts::rules {
namespace {

// The largest prime up to which all integers are exact in the dtype; 0: all codes are.
int64_t PrimeOf(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf: return 2039;
    case at::kBFloat16:
    case at::kByte: return 251;
    case at::kChar: return 127;
    case at::kShort: return 32749;
    case at::kBool: return 2;
    default: return 0;
  }
}

at::ScalarType DtypeOf(const Value& value) { return LocalPart(value).scalar_type(); }

}  // namespace

at::Tensor Coded(at::IntArrayRef shape, int64_t index, int64_t offset, at::ScalarType dtype) {
  at::Tensor codes = at::arange(c10::multiply_integers(shape), at::kLong) + (4096 * index + offset);
  if (const int64_t prime = PrimeOf(dtype)) codes = codes.remainder(prime);
  codes = codes.reshape(shape);
  if (!at::isComplexType(dtype)) return codes.to(dtype);
  const at::ScalarType real = at::toRealValueType(dtype);
  return at::complex(codes.to(real), codes.neg().to(real));
}

Dict CodedLike(const Dict& tensors, int64_t offset) {
  Dict coded;
  int64_t index = 0;
  for (const auto& [name, value] : tensors) {
    coded.Set(name, Coded(GlobalShape(value), index++, offset, DtypeOf(value)));
  }
  return coded;
}

}  // namespace shardcts::rules
