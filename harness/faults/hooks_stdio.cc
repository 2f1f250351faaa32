// Hooks of streams. libc's own streams write past every hook, so a stream below the folder is one of cookies.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include "faults/fault_layer.h"
#include "faults/hooks.h"
#include "faults/real.h"

namespace shardcts::faults {
namespace {

struct Streams {
  std::mutex mutex;
  std::map<FILE*, int> descriptors;
};

Streams& TheStreams() {
  static Streams* const streams = new Streams;
  return *streams;
}

int DescriptorOf(void* cookie) { return static_cast<int>(reinterpret_cast<intptr_t>(cookie)) - 1; }
ssize_t ReadCookie(void* cookie, char* bytes, size_t count) { return ::read(DescriptorOf(cookie), bytes, count); }
ssize_t WriteCookie(void* cookie, const char* bytes, size_t count) {
  const ssize_t written = ::write(DescriptorOf(cookie), bytes, count);
  return written < 0 ? 0 : written;  // as fopencookie wants it; errno stays
}
int SeekCookie(void* cookie, off64_t* offset, int whence) {
  const off64_t place = ::lseek64(DescriptorOf(cookie), *offset, whence);
  if (place >= 0) *offset = place;
  return place < 0 ? -1 : 0;
}
int CloseCookie(void* cookie) { return ::close(DescriptorOf(cookie)); }

// -1: a mode that libc refuses.
int FlagsOfMode(const char* mode) {
  const bool both = ::strchr(mode, '+') != nullptr;
  int flags = both ? O_RDWR : O_WRONLY;
  if (mode[0] == 'w') flags |= O_CREAT | O_TRUNC;
  if (mode[0] == 'a') flags |= O_CREAT | O_APPEND;
  if (mode[0] == 'r' && !both) return -1;
  if (::strchr(mode, 'x') != nullptr) flags |= O_EXCL;
  if (::strchr(mode, 'e') != nullptr) flags |= O_CLOEXEC;
  return flags;
}

FILE* StreamOf(int descriptor, const char* mode) {
  if (descriptor < 0) return nullptr;
  const cookie_io_functions_t functions{ReadCookie, WriteCookie, SeekCookie, CloseCookie};
  FILE* stream = ::fopencookie(reinterpret_cast<void*>(static_cast<intptr_t>(descriptor) + 1), mode, functions);
  if (stream == nullptr) return nullptr;
  const std::lock_guard lock(TheStreams().mutex);
  TheStreams().descriptors[stream] = descriptor;
  return stream;
}

FILE* WatchedFopen(const char* path, const char* mode, FILE* (*real)(const char*, const char*)) {
  const int flags = Active() && BelowRoot(AT_FDCWD, path) ? FlagsOfMode(mode) : -1;
  return flags < 0 ? real(path, mode) : StreamOf(WatchedOpen(AT_FDCWD, path, flags, 0666), mode);
}

}  // namespace
}  // namespace shardcts::faults

using namespace shardcts::faults;

SHARDCTS_HOOK FILE* fopen(const char* path, const char* mode) { return WatchedFopen(path, mode, SHARDCTS_REAL(fopen)); }
SHARDCTS_HOOK FILE* fopen64(const char* path, const char* mode) {
  return WatchedFopen(path, mode, SHARDCTS_REAL(fopen64));
}
SHARDCTS_HOOK FILE* fdopen(int descriptor, const char* mode) noexcept {
  const bool watched = Active() && BelowRoot(descriptor) && FlagsOfMode(mode) >= 0;
  return watched ? StreamOf(descriptor, mode) : SHARDCTS_REAL(fdopen)(descriptor, mode);
}
SHARDCTS_HOOK FILE* freopen(const char* path, const char* mode, FILE* stream) {
  if (path != nullptr && Active() && BelowRoot(AT_FDCWD, path)) NoteUnseen("freopen");
  return SHARDCTS_REAL(freopen)(path, mode, stream);
}
SHARDCTS_HOOK int fileno(FILE* stream) noexcept {
  {
    const std::lock_guard lock(TheStreams().mutex);
    const auto found = TheStreams().descriptors.find(stream);
    if (found != TheStreams().descriptors.end()) return found->second;
  }
  return SHARDCTS_REAL(fileno)(stream);
}
SHARDCTS_HOOK int fclose(FILE* stream) {
  {
    const std::lock_guard lock(TheStreams().mutex);
    TheStreams().descriptors.erase(stream);
  }
  return SHARDCTS_REAL(fclose)(stream);
}
