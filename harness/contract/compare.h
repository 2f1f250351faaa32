// Comparison of values: exact (bits, NaN included) or within a tolerance, with an explanation of the differences.
// All functions are *Local*.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "contract/value.h"

namespace shardcts {

// |actual - expected| <= atol + rtol * |expected|. Both zero: bits must be equal, NaN's payload and the zero's sign
// included. NaN equals NaN in both modes.
struct Tolerance {
  double rtol = 0;
  double atol = 0;
  bool IsExact() const { return rtol == 0 && atol == 0; }
  // PyTorch's defaults of torch.testing.assert_close for the dtype (1.3e-6 / 1e-5 for float32); exact for integers.
  static Tolerance ForDtype(at::ScalarType dtype);
};

struct CompareOptions {
  bool dtype_default_tolerance = false;  // use Tolerance::ForDtype of each tensor instead of `tolerance`
  Tolerance tolerance;
  bool requires_grad = false;   // compare requires_grad, is_parameter
  bool device = false;          // compare devices (types only, as "cuda" without index)
  bool handles = false;         // compare handle ids (kinds always)
};

struct Difference {
  // structural: keys, order, type, dtype, device, shape, placement. value: numbers differ. close: the bits differ, but
  // within the tolerance (reported, not a failure).
  enum class Kind { kStructural, kValue, kClose };
  Kind kind = Kind::kStructural;
  std::string path;      // "0.weight", "[3].missing_keys"
  std::string message;   // "index (1, 2): expected 3.5, actual 4.5 (absolute difference 1, 12 of 30 elements differ)"
};

struct Comparison {
  std::vector<Difference> differences;  // in the order of the values; at most 64
  int64_t tensors = 0;                  // tensors compared
  int64_t identical = 0;                // of them, bit for bit
  int64_t close = 0;
  bool Equal() const;                   // no difference but close ones
  std::string Explain() const;          // one line: the first difference that counts; empty when equal
};

Comparison Compare(const Value& expected, const Value& actual, const CompareOptions& options = {});

// Two plain tensors; the difference's path is empty.
Comparison CompareTensors(const at::Tensor& expected, const at::Tensor& actual, const CompareOptions& options = {});

}  // namespace shardcts
