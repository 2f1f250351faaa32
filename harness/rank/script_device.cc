#include <ATen/ATen.h>
#include <fmt/format.h>

#include "rank/script.h"
#include "recording/device_types.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

constexpr const char* kDevice = "device";

// The devices that mean the same everywhere.
bool IsOfAnyScript(const std::string& device) { return device == "cpu" || device == "meta"; }

// What an operation's argument names.
std::string Changed(const std::string& named, const Script& script, const std::string& device,
                    const std::string& place) {
  if (named == script.device) return device;
  if (IsOfAnyScript(named) || named == device) return named;
  throw InputError(fmt::format("{}: names device {}; the script is for device type {}, and is to run on {}", place,
                               named, script.device, device));
}

void ChangeArguments(Json& arguments, const ScriptStep& step, const Script& script, const std::string& device) {
  if (!arguments.is_object()) return;
  const bool builds = step.operation == "model.build";  // on the CPU where nothing is said
  if (builds && script.device == "cpu" && !arguments.contains(kDevice)) arguments[kDevice] = device;
  if (arguments.contains(kDevice) && arguments[kDevice].is_string()) {
    arguments[kDevice] = Changed(arguments[kDevice].get<std::string>(), script, device, step.place);
  }
  ChangeDeviceType(arguments, script.device, device);
}

at::Tensor Placed(const Json& text, const at::Tensor& tensor) {
  const std::string device = text.value(kDevice, "cpu");
  if (IsOfAnyScript(device)) return tensor;
  try {
    return tensor.detach().to(c10::Device(device)).set_requires_grad(tensor.requires_grad());
  } catch (const c10::Error& error) {
    throw ContractViolation(fmt::format("no tensor can be made on device {}: {}", device, error.what_without_backtrace()));
  }
}

Value PlacedSpecial(const std::string& kind, const Json& text, Value value) {
  if (kind == "$tensor") {
    const Tensor* tensor = value.TryAs<Tensor>();
    return Tensor{Placed(text, tensor->data), tensor->is_parameter};
  }
  if (kind == "$dtensor") {
    DTensor dtensor = value.AsDTensor();
    dtensor.local = Placed(text.at("local"), dtensor.local);
    return dtensor;
  }
  if (kind == "$sharded_tensor") {
    ShardedTensor sharded = value.AsShardedTensor();
    for (size_t i = 0; i < sharded.local_shards.size(); ++i) {
      LocalShard& shard = sharded.local_shards[i];
      shard.tensor = Placed(text.at("local_shards")[i].at("tensor"), shard.tensor);
    }
    return sharded;
  }
  if (kind != "$dict") return value;  // references, bytes, …
  Dict placed;
  size_t i = 0;
  for (const auto& [key, item] : value.AsDict()) placed.Set(key, OnTheirDevices(text[i++].at(1), item));
  return placed;
}

}  // namespace

Value OnTheirDevices(const Json& text, Value value) {
  if (text.is_array()) {
    List placed;
    for (size_t i = 0; i < text.size(); ++i) placed.push_back(OnTheirDevices(text[i], value.AsList()[i]));
    return placed;
  }
  if (!text.is_object()) return value;
  if (text.size() == 1 && text.begin().key().starts_with('$')) {
    return PlacedSpecial(text.begin().key(), text.begin().value(), std::move(value));
  }
  Dict placed;
  for (const auto& [key, item] : value.AsDict()) placed.Set(key, OnTheirDevices(text.at(std::get<std::string>(key)), item));
  return placed;
}

void UseDevice(Script& script, const std::string& device) {
  if (script.device == device) return;
  for (ScriptStep& step : script.steps) {
    for (Json& arguments : step.arguments) ChangeArguments(arguments, step, script, device);
    ChangeDeviceType(step.expect, script.device, device);
  }
  script.device = device;
}

}  // namespace shardcts
