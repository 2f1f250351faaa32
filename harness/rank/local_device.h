// The device of this rank, for implementations in C++. Those in Python open theirs themselves (torch_devices.py). All
// functions are *Local*.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "run_files/implementation_spec.h"

namespace shardcts {

// Loads what brings the implementation's device type: the shared library that the option import names; for hostdev, ours.
// InputError, one line: there is no such library, it cannot be loaded, or it brings no device type of that name.
void BringDeviceType(const ImplementationSpec& implementation);

// How many devices of this type there are, as LibTorch counts them; 0 of a type that it does not know.
int CountDevices(const std::string& device_type);

// The device of this type with the number `local_rank`, from the first again where there are fewer, made the current
// one. InputError: there is none.
c10::Device OpenSharedDevice(const std::string& device_type, int local_rank);

// What the library that brings the device type says that it is; empty for one that says nothing.
std::string NameOfDevices(const std::string& device_type);

}  // namespace shardcts
