#include "recording/device_types.h"

#include "recording/tensors_in.h"

namespace shardcts {
namespace {

// In a mesh, alone or of a DTensor.
void ChangeMeshes(Json& value, const std::string& from, const std::string& to) {
  if (!value.is_structured()) return;
  if (value.is_object() && value.contains("device_type") && value["device_type"] == from) value["device_type"] = to;
  for (Json& item : value) ChangeMeshes(item, from, to);
}

void ChangeShard(Json& metadata, const std::string& from, const std::string& to) {
  if (DeviceTypeOf(metadata.at("device").get<std::string>()) != from) return;
  metadata["device"] = to == "cpu" ? to : to + ":" + std::to_string(metadata.at("rank").get<int64_t>());
}

void ChangeShards(Json& value, const std::string& from, const std::string& to) {
  if (!value.is_structured()) return;
  if (value.is_object() && value.contains("$sharded_tensor")) {
    Json& sharded = value["$sharded_tensor"];
    for (Json& metadata : sharded.at("metadata")) ChangeShard(metadata, from, to);
    for (Json& shard : sharded.at("local_shards")) ChangeShard(shard.at("metadata"), from, to);
    return;
  }
  for (Json& item : value) ChangeShards(item, from, to);
}

}  // namespace

std::string DeviceTypeOf(const std::string& device) { return device.substr(0, device.find(':')); }

std::string DeviceTypeOfScript(const Json& script) { return script.value("device", "cpu"); }

void ChangeDeviceType(Json& value, const std::string& from, const std::string& to) {
  if (from == to) return;
  ForEachTensor(value, [&](Json& tensor) {
    if (DeviceTypeOf(tensor.value("device", "cpu")) == from) tensor["device"] = to;
  });
  ChangeMeshes(value, from, to);
  ChangeShards(value, from, to);
}

}  // namespace shardcts
