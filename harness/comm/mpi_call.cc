#include "comm/mpi_call.h"

#include <atomic>
#include <mutex>
#include <string>
#include <utility>

#include "comm/call_state.h"
#include "comm/group_calls.h"

namespace shardcts {
namespace {

std::atomic<bool> some_call_failed{false};

}  // namespace

bool IsDone(const std::shared_ptr<PendingCall>& call) {
  int done = 0;
  return MPI_Test(&call->request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done;
}

void KeepForever(std::shared_ptr<PendingCall> call) {
  static std::mutex mutex;
  static auto* unfinished = new std::vector<std::shared_ptr<PendingCall>>;
  std::lock_guard<std::mutex> lock(mutex);
  unfinished->push_back(std::move(call));
  NoteMpiCallFailed();
}

void NoteMpiCallFailed() { some_call_failed = true; }

bool SomeMpiCallFailed() { return some_call_failed; }

bool DoneWithin(MPI_Request request, std::chrono::seconds limit) {
  CallState wait;
  wait.SetDeadline(std::chrono::steady_clock::now() + limit);
  return !WaitFor(wait, [&request](std::string& problem) {
    int done = 0;
    if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) problem = "MPI_Test failed";
    return done != 0;
  });
}

}  // namespace shardcts
