// StagedCommunicator: tensors of one device over a communicator of another.
//
// A rank's device tensors travel over host memory: device -> host -> `local` or `mpi` -> device. So ranks can share one
// device, which NCCL refuses, and a device needs no library of collectives. Nothing is fast here, and nothing is late:
// every copy is done when a call returns. The other way round, tensors on the host over NCCL, the conformance tests run
// on GPUs.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace shardcts {

// *Local*. Every call takes tensors on `device`, copies what it reads to `inner`'s device, calls `inner`, and copies
// what that has written back. Groups split from the result are staged as well. std::invalid_argument: a tensor that is
// not contiguous or on another device. backend(): "staged over " and that of `inner`.
std::unique_ptr<Communicator> MakeStagedCommunicator(std::unique_ptr<Communicator> inner, at::Device device);

}  // namespace shardcts
