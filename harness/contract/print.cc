#include <ATen/ATen.h>
#include <fmt/format.h>

#include "contract/tensor_bytes.h"
#include "contract/value.h"

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

std::string PrintDTensor(const DTensor& value) {
  return fmt::format("DTensor {} {} {} on {}, local {}",
                     value.local.defined() ? DtypeName(value.local.scalar_type()) : "undefined",
                     ShapeToString(value.shape), ToString(value.placements), value.mesh.ToString(),
                     value.local.defined() ? ShapeToString(value.local.sizes()) : "undefined");
}

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
  switch (value.type()) {
    case Value::Type::kNone: return "none";
    case Value::Type::kBool: return value.AsBool() ? "true" : "false";
    case Value::Type::kInt: return std::to_string(value.AsInt());
    case Value::Type::kDouble: return fmt::format("{}", value.AsDouble());
    case Value::Type::kString: return Cut("\"" + value.AsString() + "\"");
    case Value::Type::kBytes: return fmt::format("{} bytes", value.TryAs<Bytes>()->data.size());
    case Value::Type::kList: return Join(value.AsList(), "[", "]", [](const Value& item) { return ToString(item); });
    case Value::Type::kDict:
      return Join(value.AsDict(), "{", "}",
                  [](const Dict::Entry& entry) { return ToString(entry.key) + ": " + ToString(entry.value); });
    case Value::Type::kTensor: return "tensor " + ToString(value.AsTensor());
    case Value::Type::kDTensor: return PrintDTensor(value.AsDTensor());
    case Value::Type::kShardedTensor:
      return fmt::format("ShardedTensor {} of {} shards, {} local", ShapeToString(value.AsShardedTensor().shape),
                         value.AsShardedTensor().metadata.size(), value.AsShardedTensor().local_shards.size());
    case Value::Type::kHandle: return fmt::format("{} {}", value.AsHandle().kind, value.AsHandle().id);
  }
  return "?";
}

}  // namespace shardcts
