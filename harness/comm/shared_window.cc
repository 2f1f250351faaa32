#include "comm/shared_window.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <random>

namespace shardcts {
namespace {

std::string RandomName() {
  std::random_device random;
  std::string name = "/shardcts";
  for (int i = 0; i < 4; ++i) name += "-" + std::to_string(random());
  return name;
}

// nullptr when there is none of that name, or not enough memory. Reserves it: what is missing later ends a process.
char* Map(const std::string& name, size_t bytes, bool creates) {
  const int file = shm_open(name.c_str(), O_RDWR | O_CLOEXEC | (creates ? O_CREAT | O_EXCL : 0), 0600);
  if (file < 0) return nullptr;
  void* mapped = MAP_FAILED;
  if (!creates || posix_fallocate(file, 0, static_cast<off_t>(bytes)) == 0) {
    mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  close(file);
  return mapped == MAP_FAILED ? nullptr : static_cast<char*>(mapped);
}

}  // namespace

bool AllSay(Communicator& group, bool yes) {
  at::Tensor answer = at::full({1}, yes ? 1 : 0, at::kLong);
  group.AllReduce(answer, ReduceOp::kMin);
  return answer.item<int64_t>() == 1;
}

std::unique_ptr<SharedWindow> SharedWindow::Open(Communicator& group, size_t bytes_per_rank) {
  const bool creates = group.rank() == 0;
  const size_t bytes = kBeforeParts + bytes_per_rank * static_cast<size_t>(group.size());
  const std::string wanted = creates ? RandomName() : "";
  char* begin = creates ? Map(wanted, bytes, true) : nullptr;
  std::unique_ptr<SharedWindow> window;
  try {
    // When the first rank has no memory, the others find one that is too small or none; its own answer counts anyway.
    const std::string name = group.BroadcastBytes(wanted, 0);
    if (!creates) begin = Map(name, bytes, false);
    if (begin) window.reset(new SharedWindow(begin, bytes_per_rank, bytes));
    if (!AllSay(group, begin != nullptr)) window.reset();
  } catch (...) {
    if (creates) shm_unlink(wanted.c_str());
    throw;
  }
  if (creates) shm_unlink(wanted.c_str());  // all have it now
  return window;
}

SharedWindow::~SharedWindow() { munmap(begin_, bytes_); }

}  // namespace shardcts
