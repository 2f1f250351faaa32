// SharedMemory: memory that other processes of the host can map. It has no name in the file system and ends with the
// last process that has it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace shardcts {

class SharedMemory {
 public:
  // *Local*. Filled with zeros; pages are allocated on first touch. `label` is what /proc/PID/maps shows.
  // CommunicationError, one line with the reason: the limit on file sizes (ulimit -f) or of memory is lower.
  static std::unique_ptr<SharedMemory> Make(const char* label, int64_t bytes);
  // *Local*. Maps what another process has made. CommunicationError: it cannot be seen from here, because its process
  // has ended, is on another host or in a container of its own; or it is not what the handle says.
  static std::unique_ptr<SharedMemory> Open(const std::string& handle);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  char* begin() const { return begin_ + kPageBytes; }
  int64_t bytes() const { return mapped_bytes_ - kPageBytes; }

  // Of memory that was made here: what Open takes, until CloseFile.
  std::string Handle() const;
  // No process opens it any more. The mapping remains.
  void CloseFile();
  // Neither children of a fork nor core files have it.
  void KeepToThisProcess();

  static constexpr int64_t kPageBytes = 4096;

 private:
  SharedMemory(int file, char* begin, int64_t mapped_bytes, std::string token)
      : file_(file), begin_(begin), mapped_bytes_(mapped_bytes), token_(std::move(token)) {}

  int file_;  // -1: closed
  char* begin_;  // its first page holds the token
  int64_t mapped_bytes_;
  std::string token_;
};

}  // namespace shardcts
