// Device types in values that are still JSON: what was made on one device type is run, or compared, on another. *Local*.
#pragma once

#include <string>

#include "contract/json_codec.h"

namespace shardcts {

// "cuda:1" -> "cuda"
std::string DeviceTypeOf(const std::string& device);

// The device type of a script or a recording; without an entry the CPU.
std::string DeviceTypeOfScript(const Json& script);

// Device `to` where the value says `from`: in meshes, in tensors (which are on the CPU where they say nothing), in the
// metadata of shards, which are on the device with the number of their rank.
void ChangeDeviceType(Json& value, const std::string& from, const std::string& to);

}  // namespace shardcts
