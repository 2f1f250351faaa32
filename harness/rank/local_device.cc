#include "rank/local_device.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>

#include <filesystem>
#include <optional>

#include "contract/torch_version.h"
#include "run_files/input_error.h"
#include "run_files/foreign_text.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

constexpr char kHostdev[] = "hostdev";
constexpr char kHostdevLibrary[] = "libshardcts_hostdev_device.so";

std::optional<c10::DeviceType> TypeNamed(const std::string& name) {
  try {
    return c10::Device(name).type();
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

// Never unloaded: LibTorch keeps what it has registered.
void Load(const std::string& library) {
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE) != nullptr) return;
  throw InputError(OneLine(library + ": cannot be loaded: " + dlerror()));
}

}  // namespace

void BringDeviceType(const ImplementationSpec& implementation) {
  const std::string& type = implementation.device;
  const auto named = implementation.options.find("import");
  if (named != implementation.options.end()) {
    if (!std::filesystem::exists(named->second)) throw InputError("option import=" + named->second + ": no such file");
    Load(std::filesystem::absolute(named->second).string());
    if (CountDevices(type) > 0) return;
    throw InputError("option import=" + named->second + ": after it LibTorch has no device of type " + type);
  }
  if (type == kHostdev) Load(OwnLibrary(kHostdevLibrary));
}

int CountDevices(const std::string& device_type) {
  const std::optional<c10::DeviceType> type = TypeNamed(device_type);
  if (!type || !c10::impl::hasDeviceGuardImpl(*type)) return 0;
  return c10::impl::getDeviceGuardImpl(*type)->deviceCount();
}

c10::Device OpenSharedDevice(const std::string& device_type, int local_rank) {
  const int count = CountDevices(device_type);
  if (count == 0) {
    throw InputError("LibTorch " + LoadedTorchVersion() + " has no device of type " + device_type +
                     "; import=PATH.so names the library that brings it, comm=none gives the library no communicator");
  }
  const c10::Device device(*TypeNamed(device_type), static_cast<c10::DeviceIndex>(local_rank % count));
  c10::impl::getDeviceGuardImpl(device.type())->setDevice(device);
  return device;
}

std::string NameOfDevices(const std::string& device_type) {
  if (device_type != kHostdev) return "";
  void* function = dlsym(RTLD_DEFAULT, "shardcts_hostdev_name");
  return function == nullptr ? "" : reinterpret_cast<const char* (*)()>(function)();
}

}  // namespace shardcts
