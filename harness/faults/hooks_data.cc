// Hooks of what changes and syncs the content of files.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>

#include "faults/fault_layer.h"
#include "faults/hooks.h"
#include "faults/real.h"

namespace shardcts::faults {
namespace {

std::string Gather(const iovec* parts, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
  return bytes;
}

ssize_t RealWrite(int descriptor, const iovec* parts, int count, int64_t offset) {
  if (offset >= 0) return SHARDCTS_REAL(pwritev)(descriptor, parts, count, offset);
  return SHARDCTS_REAL(writev)(descriptor, parts, count);
}

int64_t PlaceOf(int descriptor) {
  const int whence = (FlagsOf(descriptor) & O_APPEND) != 0 ? SEEK_END : SEEK_CUR;
  if (whence == SEEK_CUR) return Kernel(SYS_lseek, descriptor, off_t{0}, SEEK_CUR);
  const off_t now = Kernel(SYS_lseek, descriptor, off_t{0}, SEEK_CUR);
  const off_t end = Kernel(SYS_lseek, descriptor, off_t{0}, SEEK_END);
  Kernel(SYS_lseek, descriptor, now, SEEK_SET);
  return end;
}

// An operation on an open file that has a length and no bytes.
int64_t OnFile(Kind kind, int descriptor, int64_t offset, int64_t length, const std::function<int64_t()>& real) {
  if (!Active()) return real();
  const std::optional<std::string> below = BelowRoot(descriptor);
  if (!below) return real();
  return Perform({.kind = kind, .path = *below, .offset = offset, .length = length, .file = FileOf(descriptor)}, real);
}

ssize_t WatchedRead(int descriptor, size_t count, const std::function<ssize_t(size_t)>& real) {
  if (!Active() || !WantsReads()) return real(count);
  const std::optional<std::string> below = BelowRoot(descriptor);
  if (!below) return real(count);
  return Perform({.kind = Kind::kRead, .path = *below, .length = static_cast<int64_t>(count)},
                 [&] { return real(count); }, [&] { return real(std::max<size_t>(count / 2, 1)); });
}

}  // namespace

ssize_t WatchedWrite(int descriptor, const iovec* parts, int count, int64_t offset) {
  const auto real = [&] { return RealWrite(descriptor, parts, count, offset); };
  if (!Active()) return real();
  const std::optional<std::string> below = BelowRoot(descriptor);
  if (!below) return real();
  std::string bytes = Gather(parts, count);
  const int64_t length = static_cast<int64_t>(bytes.size());
  const auto half = [&]() -> int64_t {
    std::string part = Gather(parts, count);
    iovec one{part.data(), part.size() > 1 ? part.size() / 2 : part.size()};
    return RealWrite(descriptor, &one, 1, offset);
  };
  if (!WantsBytes()) bytes.clear();
  return Perform({.kind = Kind::kWrite, .path = *below, .offset = offset >= 0 ? offset : PlaceOf(descriptor),
                  .length = length, .file = FileOf(descriptor), .bytes = std::move(bytes)},
                 real, half);
}

int WatchedClose(int descriptor) {
  const auto real = [&] { return SHARDCTS_REAL(close)(descriptor); };
  if (!Active()) return real();
  const std::optional<std::string> below = BelowRoot(descriptor);
  if (!below || (FlagsOf(descriptor) & O_ACCMODE) == O_RDONLY) return real();
  return static_cast<int>(Perform({.kind = Kind::kClose, .path = *below, .file = FileOf(descriptor)}, real));
}

}  // namespace shardcts::faults

using namespace shardcts::faults;

SHARDCTS_HOOK ssize_t write(int descriptor, const void* bytes, size_t count) {
  if (!Active()) return SHARDCTS_REAL(write)(descriptor, bytes, count);
  const iovec one{const_cast<void*>(bytes), count};
  return WatchedWrite(descriptor, &one, 1, -1);
}
SHARDCTS_HOOK ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
  if (!Active()) return SHARDCTS_REAL(pwrite)(descriptor, bytes, count, offset);
  const iovec one{const_cast<void*>(bytes), count};
  return WatchedWrite(descriptor, &one, 1, offset);
}
SHARDCTS_HOOK ssize_t pwrite64(int descriptor, const void* bytes, size_t count, off64_t offset) {
  return pwrite(descriptor, bytes, count, offset);
}
SHARDCTS_HOOK ssize_t writev(int descriptor, const iovec* parts, int count) {
  return Active() ? WatchedWrite(descriptor, parts, count, -1) : SHARDCTS_REAL(writev)(descriptor, parts, count);
}
SHARDCTS_HOOK ssize_t pwritev(int descriptor, const iovec* parts, int count, off_t offset) {
  return Active() ? WatchedWrite(descriptor, parts, count, offset)
                  : SHARDCTS_REAL(pwritev)(descriptor, parts, count, offset);
}
SHARDCTS_HOOK ssize_t pwritev64(int descriptor, const iovec* parts, int count, off64_t offset) {
  return pwritev(descriptor, parts, count, offset);
}
SHARDCTS_HOOK ssize_t pwritev2(int descriptor, const iovec* parts, int count, off_t offset, int flags) {
  return Active() ? WatchedWrite(descriptor, parts, count, offset)
                  : SHARDCTS_REAL(pwritev2)(descriptor, parts, count, offset, flags);
}
SHARDCTS_HOOK ssize_t pwritev64v2(int descriptor, const iovec* parts, int count, off64_t offset, int flags) {
  return pwritev2(descriptor, parts, count, offset, flags);
}
SHARDCTS_HOOK int close(int descriptor) { return WatchedClose(descriptor); }

SHARDCTS_HOOK ssize_t read(int descriptor, void* bytes, size_t count) {
  return WatchedRead(descriptor, count, [&](size_t part) { return SHARDCTS_REAL(read)(descriptor, bytes, part); });
}
SHARDCTS_HOOK ssize_t pread(int descriptor, void* bytes, size_t count, off_t offset) {
  return WatchedRead(descriptor, count,
                     [&](size_t part) { return SHARDCTS_REAL(pread)(descriptor, bytes, part, offset); });
}
SHARDCTS_HOOK ssize_t pread64(int descriptor, void* bytes, size_t count, off64_t offset) {
  return pread(descriptor, bytes, count, offset);
}

SHARDCTS_HOOK int fsync(int descriptor) {
  return static_cast<int>(OnFile(Kind::kSync, descriptor, -1, 0, [&] { return SHARDCTS_REAL(fsync)(descriptor); }));
}
SHARDCTS_HOOK int fdatasync(int descriptor) {
  return static_cast<int>(OnFile(Kind::kSync, descriptor, -1, 0, [&] { return SHARDCTS_REAL(fdatasync)(descriptor); }));
}
SHARDCTS_HOOK int sync_file_range(int descriptor, off64_t offset, off64_t length, unsigned flags) {
  return static_cast<int>(OnFile(Kind::kSyncRange, descriptor, offset, length,
                                 [&] { return SHARDCTS_REAL(sync_file_range)(descriptor, offset, length, flags); }));
}
SHARDCTS_HOOK int syncfs(int descriptor) noexcept {
  if (Active() && BelowRoot(descriptor)) NoteUnseen("syncfs");
  return SHARDCTS_REAL(syncfs)(descriptor);
}
SHARDCTS_HOOK void sync() noexcept {
  if (Active()) NoteUnseen("sync");
  SHARDCTS_REAL(sync)();
}
SHARDCTS_HOOK int ftruncate(int descriptor, off_t length) noexcept {
  return static_cast<int>(
      OnFile(Kind::kTruncate, descriptor, -1, length, [&] { return SHARDCTS_REAL(ftruncate)(descriptor, length); }));
}
SHARDCTS_HOOK int ftruncate64(int descriptor, off64_t length) noexcept { return ftruncate(descriptor, length); }
SHARDCTS_HOOK int truncate(const char* path, off_t length) noexcept {
  const auto real = [&] { return SHARDCTS_REAL(truncate)(path, length); };
  const auto below = Active() ? BelowRoot(AT_FDCWD, path) : std::nullopt;
  if (!below) return real();
  return static_cast<int>(
      Perform({.kind = Kind::kTruncate, .path = *below, .length = length, .file = FileAt(*below)}, real));
}
SHARDCTS_HOOK int truncate64(const char* path, off64_t length) noexcept { return truncate(path, length); }
SHARDCTS_HOOK int fallocate(int descriptor, int mode, off_t offset, off_t length) {
  if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE && Active() && BelowRoot(descriptor))
    NoteUnseen("fallocate with a mode");
  return static_cast<int>(OnFile(Kind::kAllocate, descriptor, offset, length,
                                 [&] { return SHARDCTS_REAL(fallocate)(descriptor, mode, offset, length); }));
}
SHARDCTS_HOOK int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) {
  return fallocate(descriptor, mode, offset, length);
}
SHARDCTS_HOOK int posix_fallocate(int descriptor, off_t offset, off_t length) {
  const auto real = [&]() -> int64_t {
    const int error = SHARDCTS_REAL(posix_fallocate)(descriptor, offset, length);
    errno = error;
    return error == 0 ? 0 : -1;
  };
  return OnFile(Kind::kAllocate, descriptor, offset, length, real) == 0 ? 0 : errno;
}
SHARDCTS_HOOK int posix_fallocate64(int descriptor, off64_t offset, off64_t length) {
  return posix_fallocate(descriptor, offset, length);
}
// Their bytes are not in the log.
SHARDCTS_HOOK ssize_t copy_file_range(int from, off64_t* from_offset, int to, off64_t* to_offset, size_t length,
                                      unsigned flags) {
  if (WantsBytes() && Active() && BelowRoot(to)) NoteUnseen("the bytes of copy_file_range");
  return OnFile(Kind::kCopy, to, to_offset != nullptr ? *to_offset : -1, static_cast<int64_t>(length), [&] {
    return SHARDCTS_REAL(copy_file_range)(from, from_offset, to, to_offset, length, flags);
  });
}
SHARDCTS_HOOK ssize_t sendfile(int to, int from, off_t* offset, size_t length) noexcept {
  if (WantsBytes() && Active() && BelowRoot(to)) NoteUnseen("the bytes of sendfile");
  return OnFile(Kind::kCopy, to, -1, static_cast<int64_t>(length),
                [&] { return SHARDCTS_REAL(sendfile)(to, from, offset, length); });
}
SHARDCTS_HOOK ssize_t sendfile64(int to, int from, off64_t* offset, size_t length) noexcept {
  return sendfile(to, from, offset, length);
}
SHARDCTS_HOOK ssize_t splice(int from, off64_t* from_offset, int to, off64_t* to_offset, size_t length,
                             unsigned flags) {
  if (WantsBytes() && Active() && BelowRoot(to)) NoteUnseen("the bytes of splice");
  return OnFile(Kind::kCopy, to, to_offset != nullptr ? *to_offset : -1, static_cast<int64_t>(length), [&] {
    return SHARDCTS_REAL(splice)(from, from_offset, to, to_offset, length, flags);
  });
}
SHARDCTS_HOOK void* mmap(void* address, size_t length, int protection, int flags, int descriptor,
                         off_t offset) noexcept {
  const bool writes = (flags & MAP_SHARED) != 0 && descriptor >= 0 && (FlagsOf(descriptor) & O_ACCMODE) == O_RDWR;
  if (writes && Active() && BelowRoot(descriptor)) NoteUnseen("writes through a shared mapping");
  return SHARDCTS_REAL(mmap)(address, length, protection, flags, descriptor, offset);
}
SHARDCTS_HOOK void* mmap64(void* address, size_t length, int protection, int flags, int descriptor,
                           off64_t offset) noexcept {
  return mmap(address, length, protection, flags, descriptor, offset);
}
