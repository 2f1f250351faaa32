#include "comm/local/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <sstream>

#include "comm/communicator.h"

namespace shardcts {
namespace {

constexpr size_t kTokenBytes = 32;

std::string NewToken() {
  std::random_device random;
  std::string token;
  while (token.size() < kTokenBytes) token += static_cast<char>('a' + random() % 26);
  return token;
}

std::string WithErrno(const std::string& what) { return what + ": " + std::strerror(errno); }

// The kernel would end the process with SIGXFSZ.
void CheckFileLimit(int64_t bytes) {
  rlimit limit = {};
  getrlimit(RLIMIT_FSIZE, &limit);
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= static_cast<rlim_t>(bytes)) return;
  throw CommunicationError("shared memory of " + std::to_string(bytes) + " bytes: the limit on file sizes (ulimit -f) is " +
                           std::to_string(limit.rlim_cur) + " bytes");
}

char* Map(int file, int64_t bytes) {
  void* mapped = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  if (mapped != MAP_FAILED) return static_cast<char*>(mapped);
  throw CommunicationError(WithErrno("shared memory of " + std::to_string(bytes) + " bytes cannot be mapped"));
}

class File {
 public:
  explicit File(int number) : number_(number) {}
  ~File() {
    if (number_ >= 0) close(number_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int number() const { return number_; }
  int Release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

}  // namespace

std::unique_ptr<SharedMemory> SharedMemory::Make(const char* label, int64_t bytes) {
  const int64_t mapped_bytes = kPageBytes + (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  CheckFileLimit(mapped_bytes);
  File file(memfd_create(label, MFD_CLOEXEC));
  if (file.number() < 0 || ftruncate(file.number(), mapped_bytes) != 0) {
    throw CommunicationError(WithErrno("shared memory of " + std::to_string(mapped_bytes) + " bytes cannot be made"));
  }
  char* begin = Map(file.number(), mapped_bytes);
  const std::string token = NewToken();
  std::memcpy(begin, token.data(), token.size());
  return std::unique_ptr<SharedMemory>(new SharedMemory(file.Release(), begin, mapped_bytes, token));
}

std::unique_ptr<SharedMemory> SharedMemory::Open(const std::string& handle) {
  std::istringstream words(handle);
  uint32_t process = 0;
  uint32_t number = 0;
  int64_t bytes = 0;
  std::string token;
  if (!(words >> process >> number >> bytes >> token) || bytes <= kPageBytes || token.size() != kTokenBytes) {
    throw CommunicationError("shared memory: a wrong handle");
  }
  const std::string memory = "the shared memory of process " + std::to_string(process);
  const File file(open(("/proc/" + std::to_string(process) + "/fd/" + std::to_string(number)).c_str(), O_RDWR | O_CLOEXEC));
  if (file.number() < 0) throw CommunicationError(WithErrno(memory + " cannot be opened"));
  struct stat status = {};
  if (fstat(file.number(), &status) != 0 || status.st_size != bytes) throw CommunicationError(memory + " is another one");
  std::unique_ptr<SharedMemory> opened(new SharedMemory(-1, Map(file.number(), bytes), bytes, token));
  if (std::memcmp(opened->begin_, token.data(), token.size()) != 0) throw CommunicationError(memory + " is another one");
  return opened;
}

SharedMemory::~SharedMemory() {
  munmap(begin_, static_cast<size_t>(mapped_bytes_));
  CloseFile();
}

std::string SharedMemory::Handle() const {
  return std::to_string(getpid()) + " " + std::to_string(file_) + " " + std::to_string(mapped_bytes_) + " " + token_;
}

void SharedMemory::CloseFile() {
  if (file_ >= 0) close(std::exchange(file_, -1));
}

void SharedMemory::KeepToThisProcess() {
  madvise(begin_, static_cast<size_t>(mapped_bytes_), MADV_DONTFORK);
  madvise(begin_, static_cast<size_t>(mapped_bytes_), MADV_DONTDUMP);
}

}  // namespace shardcts
