// The hook of syscall(), through which programs go past libc's other functions.
#include <fcntl.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdarg>

#include "faults/fault_layer.h"
#include "faults/hooks.h"
#include "faults/real.h"

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

namespace shardcts::faults {
namespace {

template <class T>
T As(long value) {
  return reinterpret_cast<T>(value);
}

// The call as libc's function makes it, which its own hook sees; nothing: it changes no files.
std::optional<long> ThroughHook(long number, const long* a) {
  const int first = static_cast<int>(a[0]);
  switch (number) {
    case SYS_write: return ::write(first, As<const void*>(a[1]), static_cast<size_t>(a[2]));
    case SYS_pwrite64: return ::pwrite(first, As<const void*>(a[1]), static_cast<size_t>(a[2]), a[3]);
    case SYS_writev: return ::writev(first, As<const iovec*>(a[1]), static_cast<int>(a[2]));
    case SYS_pwritev: return ::pwritev(first, As<const iovec*>(a[1]), static_cast<int>(a[2]), a[3]);
    case SYS_openat:
      return WatchedOpen(first, As<const char*>(a[1]), static_cast<int>(a[2]), static_cast<mode_t>(a[3]));
    case SYS_close: return ::close(first);
    case SYS_fsync: return ::fsync(first);
    case SYS_fdatasync: return ::fdatasync(first);
    case SYS_ftruncate: return ::ftruncate(first, a[1]);
    case SYS_fallocate: return ::fallocate(first, static_cast<int>(a[1]), a[2], a[3]);
    case SYS_mkdirat: return ::mkdirat(first, As<const char*>(a[1]), static_cast<mode_t>(a[2]));
    case SYS_unlinkat: return ::unlinkat(first, As<const char*>(a[1]), static_cast<int>(a[2]));
    case SYS_renameat2:
      return ::renameat2(first, As<const char*>(a[1]), static_cast<int>(a[2]), As<const char*>(a[3]),
                         static_cast<unsigned>(a[4]));
    case SYS_linkat:
      return ::linkat(first, As<const char*>(a[1]), static_cast<int>(a[2]), As<const char*>(a[3]),
                      static_cast<int>(a[4]));
    case SYS_copy_file_range:
      return ::copy_file_range(first, As<off64_t*>(a[1]), static_cast<int>(a[2]), As<off64_t*>(a[3]),
                               static_cast<size_t>(a[4]), static_cast<unsigned>(a[5]));
    case SYS_sendfile:
      return ::sendfile64(first, static_cast<int>(a[1]), As<off64_t*>(a[2]), static_cast<size_t>(a[3]));
#ifdef SYS_open
    case SYS_open: return ::open(As<const char*>(a[0]), static_cast<int>(a[1]), static_cast<mode_t>(a[2]));
    case SYS_mkdir: return ::mkdir(As<const char*>(a[0]), static_cast<mode_t>(a[1]));
    case SYS_unlink: return ::unlink(As<const char*>(a[0]));
    case SYS_rmdir: return ::rmdir(As<const char*>(a[0]));
    case SYS_rename: return ::rename(As<const char*>(a[0]), As<const char*>(a[1]));
    case SYS_link: return ::link(As<const char*>(a[0]), As<const char*>(a[1]));
#endif
    default: return std::nullopt;
  }
}

}  // namespace
}  // namespace shardcts::faults

SHARDCTS_HOOK long syscall(long number, ...) noexcept {
  using namespace shardcts::faults;
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  if (Active()) {
    if (number == SYS_io_uring_setup) NoteUnseen("io_uring");
    if (const std::optional<long> result = ThroughHook(number, a)) return *result;
  }
  return Kernel(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
