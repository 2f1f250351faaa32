// The extension module _hostdev of the Python package shardcts_hostdev. Loading it registers the device type.
#include <torch/csrc/utils/pybind.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <string>

#include "devices/hostdev/arena.h"
#include "devices/hostdev/collectives.h"
#include "devices/hostdev/device_name.h"

namespace shardcts::hostdev {
namespace {

namespace py = pybind11;

c10::intrusive_ptr<c10d::Backend> MakeHostCcl(int rank, int size, const c10::intrusive_ptr<c10d::Backend>& carrier) {
  return c10::make_intrusive<HostCcl>(rank, size, carrier);
}

std::string Settings() { return DeviceSettings() + (SplitsGroups() ? "" : ", does not split groups"); }

PYBIND11_MODULE(_hostdev, m) {
  py::class_<HostCclOptions, c10d::Backend::Options, c10::intrusive_ptr<HostCclOptions>>(m, "HostCclOptions")
      .def("__deepcopy__", [](const HostCclOptions& options, const py::dict&) {
        return c10::make_intrusive<HostCclOptions>(options);
      });
  py::class_<HostCcl, c10d::Backend, c10::intrusive_ptr<HostCcl>>(m, "HostCcl")
      .def_property_readonly("options", &HostCcl::getBackendOptions)
      // PyTorch's new_group calls it on ranks that are no members of the group that is split off.
      .def("perform_nocolor_split", [](HostCcl&, const py::object&) {});
  m.def("make_hostccl", &MakeHostCcl, py::call_guard<py::gil_scoped_release>());
  m.def("device_count", [] { return int{DeviceCount()}; });
  m.def("settings", &Settings);
  m.def("alias_address", [](size_t address) {
    return reinterpret_cast<size_t>(Alias(reinterpret_cast<void*>(address)));
  });
}

}  // namespace
}  // namespace shardcts::hostdev
