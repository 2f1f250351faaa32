// The MPI backend of Communicator: CPU tensors over MPICH.
//
// All waiting is polling of non-blocking calls with a yield in between, because MPICH's blocking calls spin and can
// neither be aborted nor given a deadline. Exception: Split creates the MPI group with a blocking call, after all
// ranks are known to have arrived.
//
// A wait without a deadline set by SetDeadline ends 60 seconds after it began. Abort and SetDeadline hold for the
// communicator and, unless these have their own deadline, for the groups split from it, at any depth; what is done to
// a split-off group does not touch the communicator that it came from.
// Tensors up to 2 GiB less one byte per call; beyond that std::invalid_argument, as for tensors that are not contiguous
// or not on the CPU, or a ReduceOp that the dtype does not have. bool sums and products are logical or and logical and.
// All-gathers into one tensor and broadcasts of 64 KiB or more, and exchanges, go through shared memory where all ranks
// are processes of one host that see it: from one tensor into the other, where these lie in DirectMemory()
// (direct_exchange.h); else all-gathers through a window (window_all_gather.h), 4 MiB for each rank, from the first such
// call on.
// The tag 32767 is taken by Signal.
// float16 and bfloat16 are reduced in float32, in rank order, and rounded once.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace shardcts {

// MPI's life in this process: one object in main, around everything that communicates.
class MpiSession {
 public:
  // CommunicationError when MPI does not start.
  MpiSession(int* argc, char*** argv);
  // *Collective*. Finalizes MPI when all ranks arrive within 10 seconds (after a failed call within 2); MPI's own end has
  // 5 seconds. Otherwise MPI is left as it is, and Hydra takes a process that ends so for a crashed one.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }

 private:
  int rank_ = 0;
  int world_size_ = 1;
};

// *Collective* over all processes. A communicator of its own over all ranks: its traffic meets no other's. An
// MpiSession must exist, and outlive the result.
std::unique_ptr<Communicator> MakeMpiCommunicator();

// *Collective*. This rank's place among the ranks of `world` that run on the same host.
int LocalRank(Communicator& world);

}  // namespace shardcts
