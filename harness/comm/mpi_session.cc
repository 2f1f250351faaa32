#include "comm/mpi_session.h"

#include <mpi.h>

#include <chrono>
#include <future>
#include <thread>

#include "comm/communicator.h"
#include "comm/mpi_call.h"

namespace shardcts {
namespace {

// Calls that were given up are still known to MPI, so its end may hang: then it is left behind.
void FinalizeWithin(std::chrono::seconds limit) {
  std::promise<void> done;
  std::future<void> is_done = done.get_future();
  std::thread finalizer([done = std::move(done)]() mutable {
    MPI_Finalize();
    done.set_value();
  });
  if (is_done.wait_for(limit) == std::future_status::ready) {
    finalizer.join();
  } else {
    finalizer.detach();
  }
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) {
  int provided = 0;
  if (MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
    throw CommunicationError("MPI_Init_thread failed");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &world_size_);
}

MpiSession::~MpiSession() {
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS) return;
  if (!DoneWithin(request, std::chrono::seconds(SomeMpiCallFailed() ? 2 : 10))) return;
  // Has no end when a peer already waits for this rank: MPICH does not answer there, and UCX needs answers to close its
  // connections between hosts (openucx/ucx#2254).
  FinalizeWithin(std::chrono::seconds(5));
}

}  // namespace shardcts
