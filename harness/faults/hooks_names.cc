// Hooks of what opens, names and removes files.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdarg>

#include "faults/fault_layer.h"
#include "faults/hooks.h"
#include "faults/real.h"

namespace shardcts::faults {

int WatchedOpen(int folder, const char* path, int flags, mode_t mode) {
  const auto real = [&] { return SHARDCTS_REAL(openat)(folder, path, flags, mode); };
  if (!Active()) return real();
  const std::optional<std::string> below = BelowRoot(folder, path);
  const bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
  if (!below || !writes) return real();
  return static_cast<int>(Perform({.kind = Kind::kOpen, .path = *below, .flags = flags}, real, nullptr,
                                  [](Operation& done) { done.file = FileOf(static_cast<int>(done.result)); }));
}

namespace {

mode_t ModeFor(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

int WatchedName(Kind kind, int folder, const char* path, const std::function<int64_t()>& real) {
  if (!Active()) return static_cast<int>(real());
  const std::optional<std::string> below = BelowRoot(folder, path);
  if (!below) return static_cast<int>(real());
  const uint64_t file = kind == Kind::kMakeFolder ? 0 : FileAt(*below);
  return static_cast<int>(Perform({.kind = kind, .path = *below, .file = file}, real, nullptr, [&](Operation& done) {
    if (kind == Kind::kMakeFolder) done.file = FileAt(*below);
  }));
}

int WatchedTwoNames(Kind kind, int from_folder, const char* from, int to_folder, const char* to,
                    const std::function<int64_t()>& real) {
  if (!Active()) return static_cast<int>(real());
  const std::optional<std::string> below = BelowRoot(from_folder, from), target = BelowRoot(to_folder, to);
  if (!below && !target) return static_cast<int>(real());
  if (below.has_value() != target.has_value()) {
    NoteUnseen("a file that is moved or linked into or out of the folder");
  }
  return static_cast<int>(Perform(
      {.kind = kind, .path = below.value_or(""), .to = target.value_or(""), .file = below ? FileAt(*below) : 0}, real));
}

int TemplateOpened(int descriptor, char* name, int flags) {
  const int error = errno;
  if (descriptor < 0 || !Active()) return descriptor;
  if (const auto below = BelowRoot(AT_FDCWD, name)) {
    // It is there already when it is seen: a fault comes after it.
    Perform(
        {.kind = Kind::kOpen, .path = *below, .flags = flags | O_CREAT | O_EXCL | O_RDWR, .file = FileOf(descriptor)},
        [&] { return descriptor; });
  }
  errno = error;
  return descriptor;
}

}  // namespace
}  // namespace shardcts::faults

using namespace shardcts::faults;

#define OPEN_HOOK(name)                                               \
  SHARDCTS_HOOK int name(const char* path, int flags, ...) {          \
    va_list arguments;                                                \
    va_start(arguments, flags);                                       \
    const mode_t mode = ModeFor(flags, arguments);                    \
    va_end(arguments);                                                \
    return WatchedOpen(AT_FDCWD, path, flags, mode);                  \
  }
#define OPENAT_HOOK(name)                                                 \
  SHARDCTS_HOOK int name(int folder, const char* path, int flags, ...) {  \
    va_list arguments;                                                    \
    va_start(arguments, flags);                                           \
    const mode_t mode = ModeFor(flags, arguments);                        \
    va_end(arguments);                                                    \
    return WatchedOpen(folder, path, flags, mode);                        \
  }

OPEN_HOOK(open)
OPEN_HOOK(open64)
OPENAT_HOOK(openat)
OPENAT_HOOK(openat64)
SHARDCTS_HOOK int __open_2(const char* path, int flags) { return WatchedOpen(AT_FDCWD, path, flags, 0); }
SHARDCTS_HOOK int __open64_2(const char* path, int flags) { return WatchedOpen(AT_FDCWD, path, flags, 0); }
SHARDCTS_HOOK int __openat_2(int folder, const char* path, int flags) { return WatchedOpen(folder, path, flags, 0); }
SHARDCTS_HOOK int __openat64_2(int folder, const char* path, int flags) { return WatchedOpen(folder, path, flags, 0); }
SHARDCTS_HOOK int creat(const char* path, mode_t mode) {
  return WatchedOpen(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
SHARDCTS_HOOK int creat64(const char* path, mode_t mode) {
  return WatchedOpen(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
SHARDCTS_HOOK int mkstemp(char* name) { return TemplateOpened(SHARDCTS_REAL(mkstemp)(name), name, 0); }
SHARDCTS_HOOK int mkstemp64(char* name) { return TemplateOpened(SHARDCTS_REAL(mkstemp64)(name), name, 0); }
SHARDCTS_HOOK int mkostemp(char* name, int flags) {
  return TemplateOpened(SHARDCTS_REAL(mkostemp)(name, flags), name, flags);
}
SHARDCTS_HOOK int mkostemp64(char* name, int flags) {
  return TemplateOpened(SHARDCTS_REAL(mkostemp64)(name, flags), name, flags);
}

SHARDCTS_HOOK int mkdirat(int folder, const char* path, mode_t mode) noexcept {
  return WatchedName(Kind::kMakeFolder, folder, path, [&] { return SHARDCTS_REAL(mkdirat)(folder, path, mode); });
}
SHARDCTS_HOOK int mkdir(const char* path, mode_t mode) noexcept { return mkdirat(AT_FDCWD, path, mode); }
SHARDCTS_HOOK int unlinkat(int folder, const char* path, int flags) noexcept {
  return WatchedName((flags & AT_REMOVEDIR) != 0 ? Kind::kRemoveFolder : Kind::kUnlink, folder, path,
                     [&] { return SHARDCTS_REAL(unlinkat)(folder, path, flags); });
}
SHARDCTS_HOOK int unlink(const char* path) noexcept { return unlinkat(AT_FDCWD, path, 0); }
SHARDCTS_HOOK int rmdir(const char* path) noexcept { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
SHARDCTS_HOOK int remove(const char* path) noexcept {
  struct stat status;
  const bool is_folder = ::lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
  return unlinkat(AT_FDCWD, path, is_folder ? AT_REMOVEDIR : 0);
}
SHARDCTS_HOOK int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  return WatchedTwoNames(Kind::kRename, from_folder, from, to_folder, to,
                         [&] { return SHARDCTS_REAL(renameat)(from_folder, from, to_folder, to); });
}
SHARDCTS_HOOK int rename(const char* from, const char* to) noexcept { return renameat(AT_FDCWD, from, AT_FDCWD, to); }
SHARDCTS_HOOK int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  if ((flags & RENAME_EXCHANGE) != 0 && Active() && BelowRoot(from_folder, from))
    NoteUnseen("renameat2 with RENAME_EXCHANGE");
  return WatchedTwoNames(Kind::kRename, from_folder, from, to_folder, to,
                         [&] { return SHARDCTS_REAL(renameat2)(from_folder, from, to_folder, to, flags); });
}
SHARDCTS_HOOK int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) noexcept {
  return WatchedTwoNames(Kind::kLink, from_folder, from, to_folder, to,
                         [&] { return SHARDCTS_REAL(linkat)(from_folder, from, to_folder, to, flags); });
}
SHARDCTS_HOOK int link(const char* from, const char* to) noexcept { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
SHARDCTS_HOOK int symlinkat(const char* target, int folder, const char* path) noexcept {
  const auto real = [&] { return SHARDCTS_REAL(symlinkat)(target, folder, path); };
  if (Active() && BelowRoot(folder, path)) NoteUnseen("a symbolic link that was made");
  return WatchedName(Kind::kLink, folder, path, real);
}
SHARDCTS_HOOK int symlink(const char* target, const char* path) noexcept { return symlinkat(target, AT_FDCWD, path); }
