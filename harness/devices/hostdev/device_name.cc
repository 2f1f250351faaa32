#include "devices/hostdev/device_name.h"

#include "devices/hostdev/arena.h"
#include "devices/hostdev/streams.h"

namespace shardcts::hostdev {

std::string DeviceSettings() {
  const Lateness& lateness = ChosenLateness();
  std::string late = lateness.kind == Lateness::Kind::kAll ? "all" : "none";
  if (lateness.kind == Lateness::Kind::kSeeded) late = "seed " + std::to_string(lateness.seed);
  return std::to_string(DeviceCount()) + " devices, late: " + late;
}

}  // namespace shardcts::hostdev

extern "C" const char* shardcts_hostdev_name() {
  static const std::string name = "hostdev, ShardCTS's emulated accelerator over host memory (no GPU): " +
                                  shardcts::hostdev::DeviceSettings();
  return name.c_str();
}
