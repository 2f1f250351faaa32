#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "contract/json_codec.h"
#include "contract/tensor_bytes.h"
#include "contract/value_fields.h"

namespace shardcts {
namespace {

Json Special(const char* kind, Json content) { return {{kind, std::move(content)}}; }

Json KeyJson(const Key& key) {
  return std::visit([](const auto& alternative) { return Json(alternative); }, key);
}

Json OriginJson(const Origin& origin) {
  Json path = Json::array({origin.step});
  for (const Key& key : origin.path) path.push_back(KeyJson(key));
  return path;
}

// Keys that all stand for themselves in an object.
bool IsPlain(const Dict& dict) {
  for (const Dict::Entry& entry : dict) {
    const auto* text = std::get_if<std::string>(&entry.key);
    if (!text || text->starts_with('$')) return false;
  }
  return true;
}

class Encoder {
 public:
  explicit Encoder(const EncodeOptions& options) : options_(options) {}

  Json Encode(const Value& value) const {
    if (options_.references && value.origin()) return Special("$ref", OriginJson(*value.origin()));
    return VisitValue(value, [this](const auto& held) { return Any(held); });
  }

 private:
  // What a value may hold.
  static Json Any(std::monostate) { return nullptr; }
  static Json Any(bool value) { return value; }
  static Json Any(int64_t value) { return value; }
  static Json Any(double value) {
    if (std::isfinite(value)) return value;
    return Special("$double", std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
  }
  static Json Any(const std::string& text) { return text.starts_with('$') ? "$" + text : text; }
  static Json Any(const Bytes& bytes) { return Special("$bytes", Base64Encode(bytes.data)); }
  static Json Any(const Handle& handle) { return Special("$handle", fmt::format("{}:{}", handle.kind, handle.id)); }
  Json Any(const List& list) const {
    Json items = Json::array();
    for (const Value& item : list) items.push_back(Encode(item));
    return items;
  }
  Json Any(const Dict& dict) const {
    if (!IsPlain(dict)) return Special("$dict", Pairs(dict));
    Json object = Json::object();
    // Its operator[] would look through all entries that are there.
    auto& entries = object.get_ref<Json::object_t&>();
    for (const Dict::Entry& entry : dict) {
      entries.emplace_back(std::get<std::string>(entry.key), Encode(entry.value));
    }
    return object;
  }
  Json Pairs(const Dict& dict) const {
    Json pairs = Json::array();
    for (const Dict::Entry& entry : dict) pairs.push_back(Json::array({KeyJson(entry.key), Encode(entry.value)}));
    return pairs;
  }
  Json Any(const Tensor& tensor) const {
    Json object = Part(tensor.data);
    AddField(object, "is_parameter", tensor.is_parameter);
    return Special("$tensor", std::move(object));
  }
  Json Any(const DTensor& value) const { return Special("$dtensor", Part(value)); }
  Json Any(const ShardedTensor& value) const { return Special("$sharded_tensor", Part(value)); }

  // What a field may hold.
  template <class T>
  static Json Part(const T& plain) {
    return plain;
  }
  static Json Part(at::ScalarType dtype) { return DtypeName(dtype); }
  static Json Part(const Placement& placement) { return placement.ToString(); }
  Json Part(const at::Tensor& tensor) const {
    Json object = {{"shape", tensor.sizes().vec()}, {"dtype", DtypeName(tensor.scalar_type())}};
    if (!tensor.device().is_cpu()) object["device"] = c10::DeviceTypeName(tensor.device().type(), true);
    AddField(object, "requires_grad", tensor.requires_grad());
    if (!tensor.is_meta()) AddBytes(object, ContiguousOnCpu(tensor));
    return object;
  }
  template <class T>
  Json Part(const std::vector<T>& items) const {
    Json list = Json::array();
    for (const T& item : items) list.push_back(Part(item));
    return list;
  }
  template <Composite T>
  Json Part(const T& composite) const {
    Json object = Json::object();
    ForEachField<T>([&](std::string_view name, auto member) { AddField(object, name, composite.*member); });
    return object;
  }

  // Flags that are not set and names that are not there are left out.
  template <class T>
  void AddField(Json& object, std::string_view name, const T& field) const {
    if constexpr (std::same_as<T, bool>) {
      if (!field) return;
    } else if constexpr (std::same_as<T, std::vector<std::string>>) {
      if (field.empty()) return;
    }
    object[std::string(name)] = Part(field);
  }

  void AddBytes(Json& object, const at::Tensor& contiguous) const {
    const std::string_view bytes = BytesView(contiguous);
    if (bytes.size() <= options_.largest_data) {
      object["data"] = Base64Encode(bytes);
      return;
    }
    const std::string digest = Digest(bytes);
    object["digest"] = digest;
    if (!options_.keep || !options_.keep(digest, bytes)) object["kept"] = false;
  }

  const EncodeOptions& options_;
};

}  // namespace

Json Encode(const Value& value, const EncodeOptions& options) { return Encoder(options).Encode(value); }

Json EncodeOutcome(const Outcome& outcome, const EncodeOptions& options) {
  if (outcome.ok()) return {{"value", Encode(outcome.value(), options)}};
  return {{"error", {{"kind", outcome.error().kind}, {"message", outcome.error().message}}}};
}

}  // namespace shardcts
