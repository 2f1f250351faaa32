// StagedCommunicator: host tensors over a communicator of another device, so that the conformance tests run on a GPU.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace shardcts {

// *Local*. Every call copies its tensors to `device`, calls `inner`, and copies what that has written back. Groups
// split from the result are staged as well.
std::unique_ptr<Communicator> MakeStagedCommunicator(std::unique_ptr<Communicator> inner, at::Device device);

}  // namespace shardcts
