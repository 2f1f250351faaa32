// What the emulated devices say of themselves: results name it, so that none is taken for that of a GPU. All *Local*.
#pragma once

#include <string>

namespace shardcts::hostdev {

// "8 devices, late: all", "2 devices, late: seed 7".
std::string DeviceSettings();

}  // namespace shardcts::hostdev

// The name of the devices, with their settings; valid until the process ends. For whoever has loaded the library by name.
extern "C" const char* shardcts_hostdev_name();
