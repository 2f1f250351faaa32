// The local backend of Communicator: ranks are processes of one host, CPU tensors, memory that the ranks share.
//
// Calls of 64 KiB and more copy from one rank's tensor into the other's, where one of the two is in DirectMemory()
// (local/direct_exchange.h). Everything else goes in pieces through memory of the group (local/staged_exchange.h).
// Reductions add in rank order, in the tensor's dtype: the same bits on every rank and in every run. float16 and
// bfloat16 are reduced in float32 and rounded once. bool sums and products are logical or and logical and.
// std::invalid_argument: tensors that are not contiguous or not on the CPU, a ReduceOp that the dtype does not have.
//
// Waits sleep. A wait ends with CommunicationError at its deadline (60 seconds after its begin where SetDeadline has
// set none), at an abort, and at once where it cannot end: the process of a rank that is waited for has ended, or the
// ranks have called different operations or disagree on sizes. Deadlines and aborts hold for the communicator and,
// unless these have their own deadline, for the groups split from it, at any depth.
// Send of less than 64 KiB does not wait for its receiver as long as there is room; a larger one may.
//
// Nothing is left when all ranks are killed: the memory has no name in the file system.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/rendezvous.h"

namespace shardcts {

// *Collective*. A communicator over the ranks of `rendezvous`, which is not needed afterwards. CommunicationError, on
// all ranks: they are not processes of one host that see each other, or there is no memory for them to share.
std::unique_ptr<Communicator> MakeLocalCommunicator(Rendezvous& rendezvous);

}  // namespace shardcts
