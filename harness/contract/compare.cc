#include "contract/compare.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstring>

#include "contract/tensor_bytes.h"
#include "contract/value_fields.h"

namespace shardcts {
namespace {

constexpr size_t kMaxDifferences = 64;

bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

at::Tensor OnCpu(const at::Tensor& tensor) { return tensor.detach().cpu().contiguous(); }

// Row-major index of the first true element.
std::vector<int64_t> FirstTrue(const at::Tensor& mask) {
  int64_t flat = mask.flatten().to(at::kByte).argmax().item<int64_t>();
  std::vector<int64_t> index(mask.dim());
  for (int64_t d = mask.dim(); d-- > 0;) {
    index[d] = flat % mask.size(d);
    flat /= mask.size(d);
  }
  return index;
}

std::string Element(const at::Tensor& tensor, const std::vector<int64_t>& index) {
  at::Tensor element = tensor;
  for (int64_t i : index) element = element.select(0, i);
  if (at::isComplexType(tensor.scalar_type())) return "complex";
  return at::isIntegralType(tensor.scalar_type(), true) ? fmt::format("{}", element.item().toLong())
                                                        : fmt::format("{:.9g}", element.item().toDouble());
}

// Elements that differ in their bits, seen as unsigned bytes of the element size.
at::Tensor BitMask(const at::Tensor& a, const at::Tensor& b) {
  const int64_t width = static_cast<int64_t>(a.element_size());
  auto bytes = [width](const at::Tensor& t) { return t.flatten().view(at::kByte).view({-1, width}); };
  return bytes(a).ne(bytes(b)).any(1).view(a.sizes());
}

at::Tensor ToleranceMask(const at::Tensor& expected, const at::Tensor& actual, const Tolerance& tolerance) {
  const at::Tensor e = expected.to(at::kDouble);
  const at::Tensor a = actual.to(at::kDouble);
  const at::Tensor within = (a - e).abs().le(tolerance.atol + tolerance.rtol * e.abs()).logical_and(e.isfinite());
  return within.logical_or(a.eq(e)).logical_or(a.isnan().logical_and(e.isnan())).logical_not();
}

class Walker {
 public:
  Walker(const CompareOptions& options, Comparison* out) : options_(options), out_(*out) {}

  void Walk(const Value& expected, const Value& actual, const std::string& path) {
    if (expected.type() != actual.type()) {
      Structural(path, fmt::format("expected {}, actual {}", ToString(expected), ToString(actual)));
      return;
    }
    VisitValue(expected, [&]<class T>(const T& held) {
      if constexpr (!std::same_as<T, std::monostate>) WalkSame(held, *actual.TryAs<T>(), path);
    });
  }

  void WalkTensors(const at::Tensor& expected, const at::Tensor& actual, const std::string& path) {
    ++out_.tensors;
    if (expected.defined() != actual.defined()) return Structural(path, "one of the tensors is undefined");
    if (!expected.defined()) return;
    if (expected.scalar_type() != actual.scalar_type())
      return Differs(path, "dtype", DtypeName(expected.scalar_type()), DtypeName(actual.scalar_type()));
    if (expected.sizes() != actual.sizes()) {
      return Differs(path, "shape", ShapeToString(expected.sizes()), ShapeToString(actual.sizes()));
    }
    if (options_.device && expected.device().type() != actual.device().type()) {
      return Differs(path, "device", expected.device().str(), actual.device().str());
    }
    if (expected.is_meta() || actual.is_meta()) {
      if (expected.is_meta() != actual.is_meta())
        return Differs(path, "device", expected.device().str(), actual.device().str());
      ++out_.identical;
      return;
    }
    WalkElements(OnCpu(expected), OnCpu(actual), path);
  }

 private:
  void Add(Difference::Kind kind, const std::string& path, std::string message) {
    if (out_.differences.size() < kMaxDifferences) out_.differences.push_back({kind, path, std::move(message)});
  }
  void Structural(const std::string& path, std::string message) {
    Add(Difference::Kind::kStructural, path, std::move(message));
  }
  void Differs(const std::string& path, std::string_view field, std::string_view expected, std::string_view actual) {
    Structural(path, fmt::format("{}: expected {}, actual {}", field, expected, actual));
  }

  // Two of one kind: what a value may hold.
  template <class T>
  void WalkSame(const T& expected, const T& actual, const std::string& path) {
    if (!(expected == actual)) Different(path, expected, actual);
  }
  void WalkSame(const Handle& expected, const Handle& actual, const std::string& path) {
    if (options_.handles ? !(expected == actual) : expected.kind != actual.kind) Different(path, expected, actual);
  }
  void WalkSame(double expected, double actual, const std::string& path) { WalkDoubles(expected, actual, path); }
  void WalkSame(const List& expected, const List& actual, const std::string& path) {
    WalkLists(expected, actual, path);
  }
  void WalkSame(const Dict& expected, const Dict& actual, const std::string& path) {
    WalkDicts(expected, actual, path);
  }
  template <Composite T>
  void WalkSame(const T& expected, const T& actual, const std::string& path) {
    if constexpr (std::same_as<T, Tensor>) {
      WalkField("requires_grad", expected.data.requires_grad(), actual.data.requires_grad(), path);
    }
    ForEachField<T>([&](std::string_view name, auto member) {
      WalkField(name, expected.*member, actual.*member, path);
    });
  }

  // What a field may hold.
  template <class T>
  void WalkField(std::string_view name, const T& expected, const T& actual, const std::string& path) {
    if (!(expected == actual)) Differs(path, name, Text(expected), Text(actual));
  }
  void WalkField(std::string_view name, bool expected, bool actual, const std::string& path) {
    if (options_.requires_grad && expected != actual) Differs(path, name, Text(expected), Text(actual));
  }
  void WalkField(std::string_view name, MeshLayout expected, const MeshLayout& actual, const std::string& path) {
    if (!options_.device) expected.device_type = actual.device_type;
    if (expected != actual) Differs(path, name, Text(expected), Text(actual));
  }
  void WalkField(std::string_view, const at::Tensor& expected, const at::Tensor& actual, const std::string& path) {
    WalkTensors(expected, actual, path);
  }
  template <Composite T>
  void WalkField(std::string_view name, const std::vector<T>& expected, const std::vector<T>& actual,
                 const std::string& path) {
    if (expected.size() != actual.size()) {
      return Differs(path, name, std::to_string(expected.size()), std::to_string(actual.size()));
    }
    for (size_t i = 0; i < expected.size(); ++i) {
      WalkSame(expected[i], actual[i], fmt::format("{}.{}[{}]", path, name, i));
    }
  }
  void WalkField(std::string_view, const ShardMetadata& expected, const ShardMetadata& actual,
                 const std::string& path) {
    WalkSame(expected, actual, path);
  }

  static std::string Text(bool flag) { return flag ? "true" : "false"; }
  static std::string Text(int64_t number) { return std::to_string(number); }
  static std::string Text(const std::string& text) { return text; }
  static std::string Text(at::ScalarType dtype) { return DtypeName(dtype); }
  static std::string Text(const MeshLayout& mesh) { return fmt::format("{} of ranks {}", mesh.ToString(), ShapeToString(mesh.ranks)); }
  static std::string Text(const std::vector<int64_t>& numbers) { return ShapeToString(numbers); }
  static std::string Text(const std::vector<Placement>& placements) { return ToString(placements); }

  void Different(const std::string& path, const Value& expected, const Value& actual) {
    Add(Difference::Kind::kValue, path, fmt::format("expected {}, actual {}", ToString(expected), ToString(actual)));
  }

  void WalkDoubles(double expected, double actual, const std::string& path) {
    if (std::memcmp(&expected, &actual, sizeof expected) == 0 || (std::isnan(expected) && std::isnan(actual))) return;
    const Tolerance tolerance =
        options_.dtype_default_tolerance ? Tolerance::ForDtype(at::kDouble) : options_.tolerance;
    const bool close =
        !tolerance.IsExact() && std::abs(actual - expected) <= tolerance.atol + tolerance.rtol * std::abs(expected);
    Add(close ? Difference::Kind::kClose : Difference::Kind::kValue, path,
        fmt::format("expected {:.17g}, actual {:.17g}", expected, actual));
  }

  void WalkLists(const List& expected, const List& actual, const std::string& path) {
    if (expected.size() != actual.size()) {
      Structural(path, fmt::format("expected a list of {}, actual {}", expected.size(), actual.size()));
    }
    for (size_t i = 0; i < std::min(expected.size(), actual.size()); ++i) {
      Walk(expected[i], actual[i], fmt::format("{}[{}]", path, i));
    }
  }

  // Where 0 is missing, "0" may be there, and the other way round.
  static std::string OfTheOtherType(const Key& key, const Dict& dict) {
    if (const auto* number = std::get_if<int64_t>(&key)) {
      return dict.Contains(std::to_string(*number)) ? ": it is an int, and there as text" : "";
    }
    const auto same_text = [&](const Dict::Entry& entry) {
      return entry.key.index() != key.index() && ToString(entry.key) == ToString(key);
    };
    return std::ranges::any_of(dict, same_text) ? ": it is text, and there as an int" : "";
  }

  void WalkDicts(const Dict& expected, const Dict& actual, const std::string& path) {
    bool same_keys = expected.size() == actual.size();
    for (const Dict::Entry& entry : expected) {
      const std::string below = path.empty() ? ToString(entry.key) : path + "." + ToString(entry.key);
      const Value* found = actual.Find(entry.key);
      if (found) {
        Walk(entry.value, *found, below);
      } else {
        same_keys = false;
        Structural(below, std::string("expected key is missing") + OfTheOtherType(entry.key, actual));
      }
    }
    for (const Dict::Entry& entry : actual) {
      if (!expected.Contains(entry.key)) {
        same_keys = false;
        Structural(path.empty() ? ToString(entry.key) : path + "." + ToString(entry.key), "unexpected key");
      }
    }
    if (same_keys && expected.Keys() != actual.Keys()) {
      Structural(path, fmt::format("order of keys: expected {}, actual {}", ToString(ToValue(expected.Keys())),
                                   ToString(ToValue(actual.Keys()))));
    }
  }

  void WalkElements(const at::Tensor& expected, const at::Tensor& actual, const std::string& path) {
    if (SameBits(expected, actual)) {
      ++out_.identical;
      return;
    }
    const Tolerance tolerance =
        options_.dtype_default_tolerance ? Tolerance::ForDtype(expected.scalar_type()) : options_.tolerance;
    const at::Tensor bits = BitMask(expected, actual);
    const at::Tensor mask = tolerance.IsExact() ? bits : ToleranceMask(expected, actual, tolerance);
    const bool close = !mask.any().item<bool>();
    if (close) ++out_.close;
    const at::Tensor& shown = close ? bits : mask;
    const std::vector<int64_t> index = FirstTrue(shown);
    const double largest =
        (actual.to(at::kDouble) - expected.to(at::kDouble)).abs().nan_to_num(INFINITY).max().item<double>();
    Add(close ? Difference::Kind::kClose : Difference::Kind::kValue, path,
        fmt::format("index {}: expected {}, actual {} ({} of {} elements differ, largest difference {:.3g})",
                    ShapeToString(index), Element(expected, index), Element(actual, index), shown.sum().item<int64_t>(),
                    shown.numel(), largest));
  }

  const CompareOptions& options_;
  Comparison& out_;
};

}  // namespace

Tolerance Tolerance::ForDtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf: return {1e-3, 1e-5};
    case at::kBFloat16: return {1.6e-2, 1e-5};
    case at::kFloat: return {1.3e-6, 1e-5};
    case at::kDouble: return {1e-7, 1e-7};
    default: return {};
  }
}

bool Comparison::Equal() const {
  for (const Difference& difference : differences) {
    if (difference.kind != Difference::Kind::kClose) return false;
  }
  return true;
}

std::string Comparison::Explain() const {
  for (const Difference& difference : differences) {
    if (difference.kind == Difference::Kind::kClose) continue;
    return difference.path.empty() ? difference.message : difference.path + ": " + difference.message;
  }
  return {};
}

Comparison Compare(const Value& expected, const Value& actual, const CompareOptions& options) {
  Comparison result;
  Walker(options, &result).Walk(expected, actual, "");
  return result;
}

Comparison CompareTensors(const at::Tensor& expected, const at::Tensor& actual, const CompareOptions& options) {
  Comparison result;
  Walker(options, &result).WalkTensors(expected, actual, "");
  return result;
}

}  // namespace shardcts
