#include <ATen/ATen.h>
#include <fmt/format.h>

#include "contract/tensor_bytes.h"
#include "contract/value.h"
#include "contract/value_fields.h"

namespace shardcts {
namespace {

constexpr size_t kMaxText = 200;

std::string Cut(std::string text) {
  if (text.size() > kMaxText) text = text.substr(0, kMaxText - 3) + "...";
  return text;
}

template <class Range, class Print>
std::string Join(const Range& range, std::string_view open, std::string_view close, Print print) {
  std::string text(open);
  size_t index = 0;
  for (const auto& item : range) {
    if (index++) text += ", ";
    text += print(item);
    if (text.size() > kMaxText) break;
  }
  return Cut(text + std::string(close));
}

// A double that is not taken for an int.
std::string Text(double value) {
  std::string text = fmt::format("{}", value);
  return text.find_first_not_of("-0123456789") == text.npos ? text + ".0" : text;
}
std::string Text(std::monostate) { return "none"; }
std::string Text(bool value) { return value ? "true" : "false"; }
std::string Text(int64_t value) { return std::to_string(value); }
std::string Text(const std::string& value) { return Cut("\"" + value + "\""); }
std::string Text(const Bytes& value) { return fmt::format("{} bytes", value.data.size()); }
std::string Text(const List& value) {
  return Join(value, "[", "]", [](const Value& item) { return ToString(item); });
}
std::string Text(const Dict& value) {
  return Join(value, "{", "}",
              [](const Dict::Entry& entry) { return ToString(entry.key) + ": " + ToString(entry.value); });
}
std::string Text(const Tensor& value) { return "tensor " + ToString(value.data); }
std::string Text(const DTensor& value) {
  return fmt::format("DTensor {} {} {} on {}, local {}",
                     value.local.defined() ? DtypeName(value.local.scalar_type()) : "undefined",
                     ShapeToString(value.shape), ToString(value.placements), value.mesh.ToString(),
                     value.local.defined() ? ShapeToString(value.local.sizes()) : "undefined");
}
std::string Text(const ShardedTensor& value) {
  return fmt::format("ShardedTensor {} of {} shards, {} local", ShapeToString(value.shape), value.metadata.size(),
                     value.local_shards.size());
}
std::string Text(const Handle& value) { return fmt::format("{} {}", value.kind, value.id); }

}  // namespace

std::string ShapeToString(at::IntArrayRef shape) {
  return Join(shape, "(", shape.size() == 1 ? ",)" : ")", [](int64_t size) { return std::to_string(size); });
}

std::string ToString(const at::Tensor& tensor) {
  if (!tensor.defined()) return "undefined tensor";
  std::string text =
      fmt::format("{} {} {}", DtypeName(tensor.scalar_type()), ShapeToString(tensor.sizes()), tensor.device().str());
  if (tensor.numel() == 1 && tensor.device().is_cpu() && !at::isComplexType(tensor.scalar_type())) {
    text += fmt::format(" = {}", tensor.item().toDouble());
  }
  return text;
}

std::string ToString(const Value& value) {
  return VisitValue(value, [](const auto& held) { return Text(held); });
}

}  // namespace shardcts
