// Non-blocking MPI calls that may never end, and those that did not.
#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <chrono>
#include <memory>
#include <vector>

namespace shardcts {

// A call and all that MPI may touch until it is done.
struct PendingCall {
  MPI_Request request = MPI_REQUEST_NULL;
  std::vector<at::Tensor> tensors;
  std::vector<int> counts;
  std::vector<int> offsets;
};

bool IsDone(const std::shared_ptr<PendingCall>& call);

// MPI continues an unfinished call whenever it runs, so the buffers are kept as long as the process runs. The call is
// counted as unfinished.
void KeepForever(std::shared_ptr<PendingCall> call);

// A call of this process did not finish: MPI cannot be finalized any more.
void NoteMpiCallFailed();
bool SomeMpiCallFailed();

// Polls a request that belongs to no communicator object. False when it is not done in time.
bool DoneWithin(MPI_Request request, std::chrono::seconds limit);

}  // namespace shardcts
