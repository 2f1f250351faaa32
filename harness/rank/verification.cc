#include "rank/verification.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace shardcts {

Verification Holds(bool condition, std::string_view what, std::string_view statement) {
  if (condition) return {};
  return {false, fmt::format("{}: {}", what, statement)};
}

Verification Equal(std::string_view what, const std::vector<int64_t>& expected, const std::vector<int64_t>& actual) {
  if (expected == actual) return {};
  return {false, fmt::format("{}: expected {}, actual {}", what, ShapeToString(expected), ShapeToString(actual))};
}

Verification SameNames(std::string_view what, const std::vector<std::string>& expected,
                       const std::vector<std::string>& actual) {
  if (expected == actual) return {};
  for (size_t i = 0; i < std::min(expected.size(), actual.size()); ++i) {
    if (expected[i] != actual[i]) {
      return {false, fmt::format("{}: name {}: expected \"{}\", actual \"{}\"", what, i, expected[i], actual[i])};
    }
  }
  const auto behind = [](const std::vector<std::string>& names, const std::vector<std::string>& others) {
    const auto common = static_cast<std::ptrdiff_t>(std::min(names.size(), others.size()));
    return ToString(ToValue(std::vector<std::string>(names.begin() + common, names.end())));
  };
  return {false, fmt::format("{}: expected {} names, actual {}: missing {}, unexpected {}", what, expected.size(),
                             actual.size(), behind(expected, actual), behind(actual, expected))};
}

Verification SameNameSet(std::string_view what, const std::vector<std::string>& expected,
                         const std::vector<std::string>& actual) {
  std::vector<std::string> missing;
  std::vector<std::string> unexpected;
  std::ranges::copy_if(expected, std::back_inserter(missing),
                       [&](auto& name) { return !std::ranges::count(actual, name); });
  std::ranges::copy_if(actual, std::back_inserter(unexpected),
                       [&](auto& name) { return !std::ranges::count(expected, name); });
  if (missing.empty() && unexpected.empty() && expected.size() == actual.size()) return {};
  return {false, fmt::format("{}: missing {}, unexpected {}", what, ToString(ToValue(missing)),
                             ToString(ToValue(unexpected)))};
}

Verification SameValue(std::string_view what, const Value& expected, const Value& actual,
                       const CompareOptions& options) {
  const Comparison comparison = Compare(expected, actual, options);
  if (comparison.Equal()) return {};
  return {false, fmt::format("{}: {}", what, comparison.Explain())};
}

Value InOrderOf(const Value& expected, const Value& actual) {
  const List* wanted_list = expected.TryAs<List>();
  const List* given_list = actual.TryAs<List>();
  if (wanted_list && given_list && wanted_list->size() == given_list->size()) {
    List ordered;
    for (size_t i = 0; i < given_list->size(); ++i) ordered.push_back(InOrderOf((*wanted_list)[i], (*given_list)[i]));
    return ordered;
  }
  const Dict* wanted = expected.TryAs<Dict>();
  const Dict* given = actual.TryAs<Dict>();
  if (!wanted || !given) return actual;
  Dict ordered;
  for (const auto& [key, value] : *wanted) {
    if (const Value* found = given->Find(key)) ordered.Set(key, InOrderOf(value, *found));
  }
  for (const auto& [key, value] : *given) {
    if (!wanted->Contains(key)) ordered.Set(key, value);
  }
  return ordered;
}

Verification IsDTensor(std::string_view what, const Value& actual) {
  return Holds(actual.type() == Value::Type::kDTensor, what, "expected a DTensor, actual " + ToString(actual));
}

Verification IsPlainTensor(std::string_view what, const Value& actual) {
  return Holds(actual.type() == Value::Type::kTensor, what, "expected a plain tensor, actual " + ToString(actual));
}

Verification IsParameter(std::string_view what, const Value& actual) {
  const bool is = (actual.TryAs<DTensor>() && actual.TryAs<DTensor>()->is_parameter) ||
                  (actual.TryAs<Tensor>() && actual.TryAs<Tensor>()->is_parameter);
  return Holds(is, what, "expected a parameter, actual " + ToString(actual) + " that is none");
}

Verification HasLayout(std::string_view what, const MeshLayout& mesh, const std::vector<Placement>& placements,
                       const Value& actual) {
  const DTensor* dtensor = actual.TryAs<DTensor>();
  if (!dtensor) return IsDTensor(what, actual);
  if (dtensor->placements != placements) {
    return {false, fmt::format("{}: expected placements {}, actual {}", what, ToString(placements),
                               ToString(dtensor->placements))};
  }
  if (dtensor->mesh == mesh) return {};
  return {false, fmt::format("{}: expected mesh {}, actual {}", what, mesh.ToString(), dtensor->mesh.ToString())};
}

Verification AllElementsAre(std::string_view what, double expected, const Value& actual) {
  const at::Tensor& local = LocalPart(actual);
  if (local.numel() == 0) return {};
  const Comparison comparison = CompareTensors(at::full_like(local, expected), local);
  if (comparison.Equal()) return {};
  return {false, fmt::format("{}: {}", what, comparison.Explain())};
}

const at::Tensor& LocalPart(const Value& value) {
  return value.type() == Value::Type::kDTensor ? value.AsDTensor().local : value.AsTensor();
}

std::vector<int64_t> GlobalShape(const Value& value) {
  return value.type() == Value::Type::kDTensor ? value.AsDTensor().shape : value.AsTensor().sizes().vec();
}

uintptr_t DataPointer(const Value& value) {
  const at::Tensor& local = LocalPart(value);
  return local.numel() == 0 ? 0 : reinterpret_cast<uintptr_t>(local.const_data_ptr());
}

uintptr_t StoragePointer(const Value& value) { return reinterpret_cast<uintptr_t>(LocalPart(value).storage().data()); }

}  // namespace shardcts
