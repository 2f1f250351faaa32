// The NCCL backend of Communicator: CUDA tensors, one GPU per rank; with the emulator, CPU tensors.
//
// All waiting is polling, as for MPI: NCCL's communicators are non-blocking, and their asynchronous errors and the
// stream of the call are queried. A call that fails, is aborted or reaches its deadline ends with ncclCommAbort,
// which also stops its kernels. Calls begin when what LibTorch's current stream has under way is done. Deadlines and
// Abort are as in mpi_communicator.h; peers of a rank that has given up wait for their own deadline.
//
// A group that has not failed is destroyed on all its ranks within 5 seconds of each other. Tags of Send and Receive
// are not sent: what two ranks send each other arrives in the order sent, and the sizes must agree.
// Tensors on another device than the group's, not contiguous ones, and a ReduceOp that the dtype does not have are
// std::invalid_argument. bool sums and products are logical or and logical and; int16, which NCCL does not know, is
// reduced as int32. Everything else is NCCL's: float16 and bfloat16 may be rounded at each step, an average is the sum
// of quotients.
#pragma once

#include <chrono>
#include <memory>

#include "comm/call_state.h"
#include "comm/communicator.h"
#include "comm/rendezvous.h"

namespace shardcts {

struct NcclLibrary;

// *Collective* over `rendezvous`, which is used to send the unique id and is not needed afterwards: a communicator over
// the same ranks. Uses the GPU number `local_rank`; the emulator needs none. CommunicationError when it is not made
// within `timeout`; NcclNotUsable, on every rank, when one has no GPU of that number.
std::unique_ptr<Communicator> MakeNcclCommunicator(Rendezvous& rendezvous, std::shared_ptr<const NcclLibrary> nccl,
                                                   int local_rank,
                                                   std::chrono::milliseconds timeout = CallState::kDefaultTimeout);
}  // namespace shardcts
