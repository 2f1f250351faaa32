// The extension module _local of the Python package shardcts_local.
#include <pybind11/chrono.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/utils/pybind.h>

#include "adapters/local_backend/backend.h"
#include "adapters/local_backend/commands.h"

namespace shardcts::local_backend {
namespace {

namespace py = pybind11;

c10::intrusive_ptr<c10d::Backend> MakeBackend(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                              std::vector<int64_t> global_ranks, std::chrono::milliseconds timeout) {
  return c10::make_intrusive<LocalBackend>(store, rank, size, std::move(global_ranks), timeout);
}

void SetDelay(int rank, std::optional<uint64_t> seed) {
  Delay(rank).Set(seed ? std::optional(*seed + static_cast<uint64_t>(rank)) : std::nullopt);
}

PYBIND11_MODULE(_local, m) {
  m.def("make_backend", &MakeBackend, py::call_guard<py::gil_scoped_release>());
  m.def("set_delay", &SetDelay);
}

}  // namespace
}  // namespace shardcts::local_backend
