#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "contract/json_codec.h"
#include "contract/json_writer.h"
#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

class Encoder {
 public:
  Encoder(JsonWriter& json, const EncodeOptions& options) : json_(json), options_(options) {}

  void Encode(const Value& value) {
    if (options_.references && value.origin()) return EncodeOrigin(*value.origin());
    switch (value.type()) {
      case Value::Type::kNone: return json_.Null();
      case Value::Type::kBool: return json_.Bool(value.AsBool());
      case Value::Type::kInt: return json_.Int(value.AsInt());
      case Value::Type::kDouble: return EncodeDouble(value.AsDouble());
      case Value::Type::kString: return EncodeString(value.AsString());
      case Value::Type::kBytes: return Special("$bytes", [&] { json_.Base64(value.TryAs<Bytes>()->data); });
      case Value::Type::kList: return EncodeList(value.AsList());
      case Value::Type::kDict: return EncodeDict(value.AsDict());
      case Value::Type::kTensor:
        return Special("$tensor", [&] { EncodeTensor(value.AsTensor(), value.TryAs<Tensor>()->is_parameter); });
      case Value::Type::kDTensor: return Special("$dtensor", [&] { EncodeDTensor(value.AsDTensor()); });
      case Value::Type::kShardedTensor:
        return Special("$sharded_tensor", [&] { EncodeSharded(value.AsShardedTensor()); });
      case Value::Type::kHandle: return EncodeHandle(value.AsHandle());
    }
  }

 private:
  template <class Write>
  void Special(std::string_view kind, Write write) {
    json_.BeginObject();
    json_.Key(kind);
    write();
    json_.EndObject();
  }

  void EncodeKey(const Key& key) {
    if (const auto* text = std::get_if<std::string>(&key)) return json_.String(*text);
    json_.Int(std::get<int64_t>(key));
  }
  void EncodeOrigin(const Origin& origin) {
    Special("$ref", [&] {
      json_.BeginArray();
      json_.Int(origin.step);
      for (const Key& key : origin.path) EncodeKey(key);
      json_.EndArray();
    });
  }
  void EncodeDouble(double value) {
    if (std::isfinite(value)) return json_.Double(value);
    Special("$double", [&] { json_.String(std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf"); });
  }
  void EncodeString(const std::string& text) { json_.String(text.starts_with('$') ? "$" + text : text); }
  void EncodeHandle(const Handle& handle) {
    Special("$handle", [&] {
      json_.String(options_.handles ? fmt::format("{}:{}", handle.kind, handle.id) : handle.kind);
    });
  }

  void EncodeList(const List& list) {
    json_.BeginArray();
    for (const Value& item : list) Encode(item);
    json_.EndArray();
  }

  void EncodeDict(const Dict& dict) {
    bool plain = true;
    for (const Dict::Entry& entry : dict) {
      const auto* text = std::get_if<std::string>(&entry.key);
      plain = plain && text && !text->starts_with('$');
    }
    if (!plain) return Special("$dict", [&] { EncodePairs(dict); });
    json_.BeginObject();
    for (const Dict::Entry& entry : dict) {
      json_.Key(std::get<std::string>(entry.key));
      Encode(entry.value);
    }
    json_.EndObject();
  }
  void EncodePairs(const Dict& dict) {
    json_.BeginArray();
    for (const Dict::Entry& entry : dict) {
      json_.BeginArray();
      EncodeKey(entry.key);
      Encode(entry.value);
      json_.EndArray();
    }
    json_.EndArray();
  }

  void Field(std::string_view key, bool value) {
    json_.Key(key);
    json_.Bool(value);
  }
  void Field(std::string_view key, std::string_view value) {
    json_.Key(key);
    json_.String(value);
  }
  void Field(std::string_view key, const std::vector<int64_t>& values) {
    json_.Key(key);
    json_.Ints(values);
  }

  void EncodeTensor(const at::Tensor& tensor, bool is_parameter) {
    if (!tensor.defined()) throw ContractViolation("an undefined tensor cannot be written");
    json_.BeginObject();
    Field("shape", tensor.sizes().vec());
    Field("dtype", std::string_view(DtypeName(tensor.scalar_type())));
    Field("device", std::string_view(c10::DeviceTypeName(tensor.device().type(), true)));
    Field("requires_grad", tensor.requires_grad());
    Field("is_parameter", is_parameter);
    if (!tensor.is_meta()) EncodeBytes(ContiguousOnCpu(tensor));
    json_.EndObject();
  }
  void EncodeBytes(const at::Tensor& contiguous) {
    const std::string_view bytes = BytesView(contiguous);
    const std::string digest = Digest(bytes);
    Field("digest", std::string_view(digest));
    const bool wanted =
        options_.data == TraceData::kFull || (options_.data == TraceData::kInline && bytes.size() <= kInlineLimitBytes);
    if (!wanted || (options_.written && !options_.written->insert(digest).second)) return;
    json_.Key("data");
    json_.Base64(bytes);
  }

  void EncodeDTensor(const DTensor& value) {
    json_.BeginObject();
    json_.Key("local");
    EncodeTensor(value.local, false);
    json_.Key("mesh");
    EncodeMesh(value.mesh);
    json_.Key("placements");
    json_.BeginArray();
    for (const Placement& placement : value.placements) json_.String(placement.ToString());
    json_.EndArray();
    Field("shape", value.shape);
    Field("stride", value.stride);
    Field("requires_grad", value.requires_grad);
    Field("is_parameter", value.is_parameter);
    json_.EndObject();
  }
  void EncodeMesh(const MeshLayout& mesh) {
    json_.BeginObject();
    Field("device_type", std::string_view(mesh.device_type));
    Field("shape", mesh.shape);
    json_.Key("dim_names");
    json_.Strings(mesh.dim_names);
    Field("ranks", mesh.ranks);
    json_.EndObject();
  }

  void EncodeMetadata(const ShardMetadata& metadata) {
    json_.BeginObject();
    Field("offsets", metadata.offsets);
    Field("sizes", metadata.sizes);
    json_.Key("rank");
    json_.Int(metadata.rank);
    Field("device", std::string_view(metadata.device));
    json_.EndObject();
  }
  void EncodeSharded(const ShardedTensor& value) {
    json_.BeginObject();
    Field("shape", value.shape);
    Field("dtype", std::string_view(DtypeName(value.dtype)));
    Field("ranks", value.ranks);
    json_.Key("metadata");
    json_.BeginArray();
    for (const ShardMetadata& shard : value.metadata) EncodeMetadata(shard);
    json_.EndArray();
    json_.Key("local_shards");
    json_.BeginArray();
    for (const LocalShard& shard : value.local_shards) {
      json_.BeginObject();
      json_.Key("metadata");
      EncodeMetadata(shard.metadata);
      json_.Key("tensor");
      EncodeTensor(shard.tensor, false);
      json_.EndObject();
    }
    json_.EndArray();
    json_.EndObject();
  }

  JsonWriter& json_;
  const EncodeOptions& options_;
};

}  // namespace

void Encode(const Value& value, JsonWriter& json, const EncodeOptions& options) { Encoder(json, options).Encode(value); }

void EncodeOutcome(const Outcome& outcome, JsonWriter& json, const EncodeOptions& options) {
  json.BeginObject();
  if (outcome.ok()) {
    json.Key("value");
    Encode(outcome.value(), json, options);
  } else {
    json.Key("error");
    json.BeginObject();
    json.Key("kind");
    json.String(outcome.error().kind);
    json.Key("message");
    json.String(outcome.error().message);
    json.EndObject();
  }
  json.EndObject();
}

Json Encode(const Value& value, const EncodeOptions& options) {
  std::string text;
  JsonWriter json(text);
  Encode(value, json, options);
  return Json::parse(text);
}

}  // namespace shardcts
