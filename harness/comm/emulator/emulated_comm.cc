#include "comm/emulator/emulated_comm.h"

#include <cstdint>
#include <stdexcept>
#include <utility>

namespace shardcts::nccl_emulator {
namespace {

// Ends a communicator with a code of its own.
struct CallFailure {
  ncclResult_t code;
};

// FNV-1a: the same on every rank.
uint64_t Hash(const std::string& text) {
  uint64_t hash = 14695981039346656037u;
  for (const unsigned char c : text) hash = (hash ^ c) * 1099511628211u;
  return hash;
}

}  // namespace

void EmulatedComm::Start(int rank, int size, bool absent) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (stopped_) return;
  rank_ = rank;
  size_ = size;
  sockets_ = std::make_unique<PeerSockets>(name_, rank, size, stopped_);
  thread_ = std::thread([this, absent] { absent ? WaitUntilStopped() : Run(); });
}

void EmulatedComm::Enqueue(Work work, cudaStream_t stream, bool on_host) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (stream != nullptr) ++stream->pending;
  ++host_work_;
  jobs_.push_back({std::move(work), stream, on_host});
  work_came_.notify_all();
}

void EmulatedComm::EnqueueFailure(ncclResult_t code, cudaStream_t stream) {
  Enqueue([code](PeerSockets&) -> bool { throw CallFailure{code}; }, stream, false);
}

void EmulatedComm::EnqueueStall(cudaStream_t stream) {
  Enqueue(
      [this](PeerSockets&) {
        WaitUntilStopped();
        return false;
      },
      stream, false);
}

void EmulatedComm::Run() {
  try {
    if (!sockets_->Connect()) return;
  } catch (const std::exception& error) {
    SetError(ncclSystemError, error.what());
    return;
  }
  std::unique_lock<std::mutex> lock(mutex_);
  --host_work_;
  for (;;) {
    work_came_.wait(lock, [this] { return stopped_ || !jobs_.empty(); });
    if (stopped_ || error_ != ncclSuccess) return;
    const Job job = jobs_.front();
    if (!job.on_host) --host_work_;
    lock.unlock();
    if (!RunOne(job)) return;
    lock.lock();
    if (job.on_host) --host_work_;
    if (job.stream != nullptr) --job.stream->pending;
    jobs_.pop_front();
  }
}

bool EmulatedComm::RunOne(const Job& job) {
  try {
    return job.work(*sockets_);
  } catch (const CallFailure& failure) {
    SetError(failure.code, "an injected error");
  } catch (const std::exception& error) {
    SetError(ncclInvalidUsage, error.what());
  }
  return false;
}

void EmulatedComm::WaitUntilStopped() {
  std::unique_lock<std::mutex> lock(mutex_);
  work_came_.wait(lock, [this] { return stopped_.load(); });
}

void EmulatedComm::SetError(ncclResult_t code, const std::string& text) {
  std::lock_guard<std::mutex> lock(mutex_);
  error_ = code;
  error_text_ = text;
}

ncclResult_t EmulatedComm::error() const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (error_ != ncclSuccess) return error_;
  return host_work_ > 0 ? ncclInProgress : ncclSuccess;
}

std::string EmulatedComm::error_text() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return error_text_;
}

void EmulatedComm::Stop() {
  std::thread thread;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    thread = std::move(thread_);
  }
  work_came_.notify_all();
  if (thread.joinable()) thread.join();
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Job& job : jobs_) {
    if (job.stream != nullptr) --job.stream->pending;
  }
  jobs_.clear();
}

std::string EmulatedComm::ChildName(int color) {
  const std::string path = name_ + "/" + std::to_string(splits_++) + "/" + std::to_string(color);
  return name_.substr(0, name_.find('-', sizeof "shardcts-emulator")) + "-" + std::to_string(Hash(path));
}

}  // namespace shardcts::nccl_emulator
