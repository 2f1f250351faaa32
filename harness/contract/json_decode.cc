#include "contract/json_codec.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

class Decoder {
 public:
  explicit Decoder(const DecodeOptions& options) : options_(options) {}

  Value Decode(const Json& json, const std::string& place) {
    switch (json.type()) {
      case Json::value_t::null: return {};
      case Json::value_t::boolean: return json.get<bool>();
      case Json::value_t::number_integer:
      case Json::value_t::number_unsigned: return json.get<int64_t>();
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

  Value Resolve(const Json& reference, const std::string& place) {
    if (!options_.resolve) Fail(place, "a reference is not allowed here");
    return options_.resolve(reference);
  }

  Value DecodeString(const Json& json, const std::string& place) {
    const std::string text = json.get<std::string>();
    if (!text.starts_with('$')) return text;
    if (text.starts_with("$$")) return text.substr(1);
    return Resolve(json, place);
  }

  Value DecodeList(const Json& json, const std::string& place) {
    List list;
    for (size_t i = 0; i < json.size(); ++i) list.push_back(Decode(json[i], fmt::format("{}[{}]", place, i)));
    return list;
  }

  Value DecodeObject(const Json& json, const std::string& place) {
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

  Value DecodeSpecial(const std::string& kind, const Json& json, const std::string& place) {
    try {
      if (kind == "$ref") return Resolve(json, place);
      if (kind == "$double") return DecodeDouble(json.get<std::string>(), place);
      if (kind == "$bytes") return Bytes{DecodeBase64(json, place)};
      if (kind == "$dict") return DecodePairs(json, place);
      if (kind == "$tensor") return DecodeTensor(json, place);
      if (kind == "$dtensor") return DecodeDTensor(json, place);
      if (kind == "$sharded_tensor") return DecodeSharded(json, place);
      if (kind == "$handle") return DecodeHandle(json.get<std::string>());
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

  static Value DecodeHandle(const std::string& text) {
    const size_t colon = text.find(':');
    Handle handle{text.substr(0, colon), 0};
    if (colon != std::string::npos) handle.id = std::atoll(text.c_str() + colon + 1);
    return handle;
  }

  Value DecodePairs(const Json& json, const std::string& place) {
    Dict dict;
    for (const Json& pair : json) {
      const Json& key = pair.at(0);
      Key decoded = key.is_string() ? Key(key.get<std::string>()) : Key(key.get<int64_t>());
      if (dict.Find(decoded)) Fail(place, "key " + key.dump() + " stands twice");
      dict.Set(decoded, Decode(pair.at(1), place + "." + ToString(decoded)));
    }
    return dict;
  }

  at::Tensor DecodePlain(const Json& json, const std::string& place) {
    const auto shape = json.at("shape").get<std::vector<int64_t>>();
    const std::optional<at::ScalarType> dtype = ParseDtype(json.at("dtype").get<std::string>());
    if (!dtype) Fail(place, "unknown dtype " + json.at("dtype").dump());
    at::Tensor tensor;
    if (json.value("device", "cpu") == "meta") {
      tensor = at::empty(shape, at::TensorOptions().dtype(*dtype).device(at::kMeta));
    } else {
      tensor = TensorFromBytes(FindBytes(json, place), shape, *dtype);
    }
    if (json.value("requires_grad", false) && at::isFloatingType(*dtype)) tensor.set_requires_grad(true);
    return tensor;
  }

  std::string FindBytes(const Json& json, const std::string& place) {
    if (json.contains("data")) return DecodeBase64(json.at("data"), place);
    const std::string digest = json.value("digest", "");
    if (options_.bytes) {
      if (const auto found = options_.bytes->find(digest); found != options_.bytes->end()) return found->second;
    }
    Fail(place, "the bytes of tensor " + digest + " were not recorded");
  }

  Value DecodeTensor(const Json& json, const std::string& place) {
    return Tensor{DecodePlain(json, place), json.value("is_parameter", false)};
  }

  Value DecodeDTensor(const Json& json, const std::string& place) {
    DTensor value;
    value.local = DecodePlain(json.at("local"), place + ".local");
    const Json& mesh = json.at("mesh");
    value.mesh = {mesh.at("device_type").get<std::string>(), mesh.at("shape").get<std::vector<int64_t>>(),
                  mesh.at("dim_names").get<std::vector<std::string>>(), mesh.at("ranks").get<std::vector<int64_t>>()};
    for (const Json& text : json.at("placements")) {
      const std::optional<Placement> placement = Placement::Parse(text.get<std::string>());
      if (!placement) Fail(place, "not a placement: " + text.dump());
      value.placements.push_back(*placement);
    }
    value.shape = json.at("shape").get<std::vector<int64_t>>();
    value.stride = json.at("stride").get<std::vector<int64_t>>();
    value.requires_grad = json.value("requires_grad", false);
    value.is_parameter = json.value("is_parameter", false);
    return value;
  }

  static ShardMetadata DecodeMetadata(const Json& json) {
    return {json.at("offsets").get<std::vector<int64_t>>(), json.at("sizes").get<std::vector<int64_t>>(),
            json.at("rank").get<int64_t>(), json.at("device").get<std::string>()};
  }
  Value DecodeSharded(const Json& json, const std::string& place) {
    ShardedTensor value;
    value.shape = json.at("shape").get<std::vector<int64_t>>();
    const std::optional<at::ScalarType> dtype = ParseDtype(json.at("dtype").get<std::string>());
    if (!dtype) Fail(place, "unknown dtype " + json.at("dtype").dump());
    value.dtype = *dtype;
    value.ranks = json.at("ranks").get<std::vector<int64_t>>();
    for (const Json& shard : json.at("metadata")) value.metadata.push_back(DecodeMetadata(shard));
    for (const Json& shard : json.at("local_shards")) {
      value.local_shards.push_back({DecodeMetadata(shard.at("metadata")), DecodePlain(shard.at("tensor"), place)});
    }
    return value;
  }

  const DecodeOptions& options_;
};

}  // namespace

Value Decode(const Json& json, const DecodeOptions& options) { return Decoder(options).Decode(json, ""); }

void CollectTensorBytes(const Json& json, std::map<std::string, std::string>* bytes) {
  if (json.is_object() && json.contains("digest") && json.contains("data")) {
    std::optional<std::string> data = Base64Decode(json.at("data").get<std::string>());
    const std::string digest = json.at("digest").get<std::string>();
    if (!data || Digest(*data) != digest) throw ContractViolation("tensor data does not match its digest " + digest);
    bytes->emplace(digest, *std::move(data));
    return;
  }
  if (json.is_structured()) {
    for (const Json& item : json) CollectTensorBytes(item, bytes);
  }
}

}  // namespace shardcts
