// Verification: the outcome of one check, with the message that says what is wrong.
//
// The functions compare what a specification or a reference model says (`expected`) with what the implementation gave
// (`actual`). `what` names the thing: "0.weight". All are *Local*.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "contract/compare.h"
#include "contract/value.h"

namespace shardcts {

struct Verification {
  bool ok = true;
  std::string message;  // "0.weight: expected …, actual …"; not empty also when ok is true is allowed
};

Verification Holds(bool condition, std::string_view what, std::string_view statement);

// Texts, numbers, booleans.
template <class T>
Verification Equal(std::string_view what, const T& expected, const T& actual) {
  if (expected == actual) return {};
  if constexpr (fmt::is_formattable<T>::value) {
    return {false, fmt::format("{}: expected {}, actual {}", what, expected, actual)};
  } else {
    return {false, fmt::format("{}: values differ", what)};
  }
}
Verification Equal(std::string_view what, const std::vector<int64_t>& expected, const std::vector<int64_t>& actual);

// Names in the same order: the message names the first that differs.
Verification SameNames(std::string_view what, const std::vector<std::string>& expected,
                       const std::vector<std::string>& actual);
// The same names in any order.
Verification SameNameSet(std::string_view what, const std::vector<std::string>& expected,
                         const std::vector<std::string>& actual);

// Same kind of value, layout and elements; see CompareOptions. Default: bits.
Verification SameValue(std::string_view what, const Value& expected, const Value& actual,
                       const CompareOptions& options = {});

// `actual` with the entries of its dicts, nested ones, too, in the order of those of `expected`, those that
// `expected` lacks after them: for comparisons in which the order does not count.
Value InOrderOf(const Value& expected, const Value& actual);

Verification IsDTensor(std::string_view what, const Value& actual);
Verification IsPlainTensor(std::string_view what, const Value& actual);
Verification IsParameter(std::string_view what, const Value& actual);
Verification HasLayout(std::string_view what, const MeshLayout& mesh, const std::vector<Placement>& placements,
                       const Value& actual);
// Every element of the tensor, or of a DTensor's local part, has this value.
Verification AllElementsAre(std::string_view what, double expected, const Value& actual);

// The plain tensor, or a DTensor's local part. Throws ContractViolation for other values.
const at::Tensor& LocalPart(const Value& value);
// The global shape.
std::vector<int64_t> GlobalShape(const Value& value);
// Address of the first element; 0 for a tensor without elements, as in PyTorch.
uintptr_t DataPointer(const Value& value);
// Address of the storage's first byte.
uintptr_t StoragePointer(const Value& value);

}  // namespace shardcts
