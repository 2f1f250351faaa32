#include "contract/json_codec.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "contract/tensor_bytes.h"
#include "contract/value_fields.h"

namespace shardcts {
namespace {

class Decoder {
 public:
  explicit Decoder(const DecodeOptions& options) : options_(options) {}

  Value Decode(const Json& json, const std::string& place) const {
    switch (json.type()) {
      case Json::value_t::null: return {};
      case Json::value_t::boolean: return json.get<bool>();
      case Json::value_t::number_integer:
      case Json::value_t::number_unsigned: return Make<int64_t>(json, place);
      case Json::value_t::number_float: return json.get<double>();
      case Json::value_t::string: return DecodeString(json, place);
      case Json::value_t::array: return DecodeList(json, place);
      case Json::value_t::object: return DecodeObject(json, place);
      default: Fail(place, "not a value");
    }
  }

 private:
  [[noreturn]] static void Fail(const std::string& place, const std::string& message) {
    throw ContractViolation((place.empty() ? "value" : place) + ": " + message);
  }

  Value Resolve(const Json& reference, const std::string& place) const {
    if (!options_.resolve) Fail(place, "a reference is not allowed here");
    return options_.resolve(reference);
  }

  Value DecodeString(const Json& json, const std::string& place) const {
    const std::string text = json.get<std::string>();
    if (!text.starts_with('$')) return text;
    if (text.starts_with("$$")) return text.substr(1);
    return Resolve(json, place);
  }

  Value DecodeList(const Json& json, const std::string& place) const {
    List list;
    for (size_t i = 0; i < json.size(); ++i) list.push_back(Decode(json[i], fmt::format("{}[{}]", place, i)));
    return list;
  }

  Value DecodeObject(const Json& json, const std::string& place) const {
    if (json.size() == 1 && json.begin().key().starts_with('$')) {
      return DecodeSpecial(json.begin().key(), json.begin().value(), place);
    }
    Dict dict;
    for (const auto& [key, item] : json.items()) {
      if (key.starts_with('$')) Fail(place, "key \"" + key + "\" stands beside others");
      dict.Set(key, Decode(item, place.empty() ? key : place + "." + key));
    }
    return dict;
  }

  Value DecodeSpecial(const std::string& kind, const Json& json, const std::string& place) const {
    try {
      if (kind == "$ref") return Resolve(json, place);
      if (kind == "$double") return DecodeDouble(json.get<std::string>(), place);
      if (kind == "$bytes") return Bytes{DecodeBase64(json, place)};
      if (kind == "$dict") return DecodePairs(json, place);
      if (kind == "$tensor") return Tensor{Make<at::Tensor>(json, place), json.value("is_parameter", false)};
      if (kind == "$dtensor") return Make<DTensor>(json, place);
      if (kind == "$sharded_tensor") return Make<ShardedTensor>(json, place);
      if (kind == "$handle") return DecodeHandle(json.get<std::string>(), place);
    } catch (const Json::exception& error) {
      Fail(place, kind + ": " + error.what());
    }
    Fail(place, "unknown kind of value \"" + kind + "\"");
  }

  static Value DecodeDouble(const std::string& text, const std::string& place) {
    if (text == "nan") return std::nan("");
    if (text == "inf") return INFINITY;
    if (text == "-inf") return -INFINITY;
    Fail(place, "not a double: \"" + text + "\"");
  }

  static std::string DecodeBase64(const Json& json, const std::string& place) {
    std::optional<std::string> bytes = Base64Decode(json.get<std::string>());
    if (!bytes) Fail(place, "not base64");
    return *std::move(bytes);
  }

  static Value DecodeHandle(const std::string& text, const std::string& place) {
    const size_t colon = std::min(text.find(':'), text.size());
    Handle handle{text.substr(0, colon), 0};
    const char* const end = text.data() + text.size();
    const char* const number = text.data() + std::min(colon + 1, text.size());
    if (number == end) return handle;
    const auto [rest, problem] = std::from_chars(number, end, handle.id);
    if (problem != std::errc() || rest != end) Fail(place, "not a handle: \"" + text + "\"");
    return handle;
  }

  Value DecodePairs(const Json& json, const std::string& place) const {
    Dict dict;
    for (const Json& pair : json) {
      const Json& key = pair.at(0);
      Key decoded = key.is_string() ? Key(key.get<std::string>()) : Key(Make<int64_t>(key, place));
      if (dict.Find(decoded)) Fail(place, "key " + key.dump() + " stands twice");
      dict.Set(decoded, Decode(pair.at(1), place + "." + ToString(decoded)));
    }
    return dict;
  }

  // What a field may hold.
  template <class T>
  T Make(const Json& json, const std::string& place) const {
    T made{};
    Get(json, place, made);
    return made;
  }
  static void Get(const Json& json, const std::string&, bool& flag) { flag = json.get<bool>(); }
  static void Get(const Json& json, const std::string&, std::string& text) { text = json.get<std::string>(); }
  static void Get(const Json& json, const std::string& place, int64_t& number) {
    const bool fits = json.is_number_integer() &&
                      (!json.is_number_unsigned() || json.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
    if (!fits) Fail(place, "not an integer of 64 bits: " + json.dump());
    number = json.get<int64_t>();
  }
  static void Get(const Json& json, const std::string& place, at::ScalarType& dtype) {
    const std::optional<at::ScalarType> parsed = ParseDtype(json.get<std::string>());
    if (!parsed) Fail(place, "unknown dtype " + json.dump());
    dtype = *parsed;
  }
  static void Get(const Json& json, const std::string& place, Placement& placement) {
    const std::optional<Placement> parsed = Placement::Parse(json.get<std::string>());
    if (!parsed) Fail(place, "not a placement: " + json.dump());
    placement = *parsed;
  }
  template <class T>
  void Get(const Json& json, const std::string& place, std::vector<T>& items) const {
    if (!json.is_array()) Fail(place, "not a list");
    items.reserve(json.size());
    for (const Json& item : json) items.push_back(Make<T>(item, place));
  }
  template <Composite T>
  void Get(const Json& json, const std::string& place, T& composite) const {
    if (!json.is_object()) Fail(place, "not an object");
    ForEachField<T>([&](std::string_view name, auto member) {
      GetField(json, std::string(name), place.empty() ? std::string(name) : fmt::format("{}.{}", place, name),
               composite.*member);
    });
  }
  // Flags and names may be left out.
  template <class T>
  void GetField(const Json& object, const std::string& name, const std::string& place, T& field) const {
    constexpr bool kMayBeAbsent = std::same_as<T, bool> || std::same_as<T, std::vector<std::string>>;
    if (kMayBeAbsent && !object.contains(name)) return;
    Get(object.at(name), place, field);
  }

  void Get(const Json& json, const std::string& place, at::Tensor& tensor) const {
    const auto shape = Make<std::vector<int64_t>>(json.at("shape"), place);
    const auto dtype = Make<at::ScalarType>(json.at("dtype"), place);
    const size_t size = CheckedSize(shape, dtype);
    if (json.value("device", "cpu") == "meta") {
      tensor = at::empty(shape, at::TensorOptions().dtype(dtype).device(at::kMeta));
    } else {
      tensor = TensorFromBytes(FindBytes(json, place, size), shape, dtype);
    }
    if (json.value("requires_grad", false) && at::isFloatingType(dtype)) tensor.set_requires_grad(true);
  }

  std::string FindBytes(const Json& json, const std::string& place, size_t size) const {
    if (json.contains("data")) return DecodeBase64(json.at("data"), place);
    if (!json.contains("digest")) Fail(place, "a tensor without data");
    const std::string digest = json.at("digest").get<std::string>();
    if (!options_.bytes || !json.value("kept", true)) Fail(place, "the bytes of tensor " + digest + " were not recorded");
    return options_.bytes(digest, size);
  }

  const DecodeOptions& options_;
};

}  // namespace

Value Decode(const Json& json, const DecodeOptions& options) { return Decoder(options).Decode(json, ""); }

}  // namespace shardcts
