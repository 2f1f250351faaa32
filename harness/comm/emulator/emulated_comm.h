// The emulator's communicator: a thread that works through the calls of one rank in the order given.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/emulator/peer_sockets.h"

// A stream: how many calls on it are not done.
struct CUstream_st {
  std::atomic<int> pending{0};
};

namespace shardcts::nccl_emulator {

class EmulatedComm {
 public:
  // `name` is the same for all ranks; `world_rank` is what faults go by.
  EmulatedComm(std::string name, int world_rank) : name_(std::move(name)), world_rank_(world_rank) {}
  ~EmulatedComm() { Stop(); }

  const std::string& name() const { return name_; }
  int world_rank() const { return world_rank_; }
  int rank() const { return rank_; }
  int size() const { return size_; }  // 0 before Start

  // *Collective* over the ranks of the group. Begins to connect, unless `absent`; done when error() is ncclSuccess.
  void Start(int rank, int size, bool absent);

  // Returns at once. `work` runs on the communicator's thread; it returns false when stopped, or throws: then error()
  // is ncclInvalidUsage and nothing follows. `stream` counts it until it is done. With `on_host`, error() is
  // ncclInProgress until it is done, else until it has begun.
  using Work = std::function<bool(PeerSockets& sockets)>;
  void Enqueue(Work work, cudaStream_t stream, bool on_host);
  // A call that ends with `code` while it is waited for; nothing follows.
  void EnqueueFailure(ncclResult_t code, cudaStream_t stream);
  // A call that never ends.
  void EnqueueStall(cudaStream_t stream);

  // ncclInProgress, ncclSuccess, or the error that has ended this communicator.
  ncclResult_t error() const;
  std::string error_text() const;

  // Ends all waiting and work; what is under way or queued is over for its stream.
  void Stop();

  // *Collective*. The name of the group that is split off with `color`.
  std::string ChildName(int color);

 private:
  struct Job {
    Work work;
    cudaStream_t stream;
    bool on_host;
  };

  void Run();
  // False when nothing may follow.
  bool RunOne(const Job& job);
  void WaitUntilStopped();
  void SetError(ncclResult_t code, const std::string& text);

  std::string name_;
  int world_rank_;
  std::atomic<int> rank_{0};
  std::atomic<int> size_{0};
  int splits_ = 0;
  std::unique_ptr<PeerSockets> sockets_;
  std::atomic<bool> stopped_{false};

  mutable std::mutex mutex_;
  std::condition_variable work_came_;
  std::deque<Job> jobs_;
  int host_work_ = 1;  // jobs for which error() is ncclInProgress; the first is to connect
  ncclResult_t error_ = ncclSuccess;
  std::string error_text_;
  std::thread thread_;
};

}  // namespace shardcts::nccl_emulator
