// The threads backend of Communicator: ranks are threads of one process, CPU tensors in its memory.
//
// Every call copies what it sends, so a caller's tensors are never touched once its call has ended, however it ended.
// Reductions add in rank order, in the tensor's dtype: the same bits in every run. Dtypes, float16 and bfloat16, bool
// and integer averages: as the mpi backend (mpi_communicator.h), also deadlines and Abort; there is no limit of size.
// What can be detected in shared memory ends a call with CommunicationError at once: ranks that call different
// operations, or that send sizes or dtypes which do not fit; a rank that has destroyed its communicator over all ranks.
// Send does not wait for its receiver.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace shardcts {

// *Local*. The communicators of a world of threads, one per rank; each belongs to one thread.
std::vector<std::unique_ptr<Communicator>> MakeThreadCommunicators(int world_size);

// *Local*. Runs `rank_main` once per rank, each on a thread of its own that is given its communicator over all ranks,
// and returns when all have ended: rethrows the exception of the rank that threw first. A rank that throws or returns
// while its peers wait for it ends their waits.
void RunThreadRanks(int world_size, const std::function<void(Communicator& world)>& rank_main);

}  // namespace shardcts
