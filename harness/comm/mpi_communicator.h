// The MPI backend of Communicator: CPU tensors over MPICH.
//
// All waiting is polling of non-blocking calls with a yield in between, because MPICH's blocking calls spin and can
// neither be aborted nor given a deadline. Exception: Split creates the MPI group with a blocking call, after all
// ranks are known to have arrived.
//
// A wait without a deadline set by SetDeadline ends 60 seconds after it began. Abort and SetDeadline hold for the
// communicator and, unless these have their own deadline, for the groups split from it, at any depth; what is done to
// such a group does not affect the communicator that it was split from.
// Tensors up to 2 GiB less one byte per call; beyond that std::invalid_argument, as for tensors that are not contiguous
// or not on the CPU, or a ReduceOp that the dtype does not have. bool sums and products are logical or and logical and.
// float16 and bfloat16 are reduced in float32, in rank order, and rounded once.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace shardcts {

// *Collective* over all processes. A communicator over all ranks, whose messages are separate from all others'. An
// MpiSession must exist, and outlive the result.
std::unique_ptr<Communicator> MakeMpiCommunicator();

}  // namespace shardcts
