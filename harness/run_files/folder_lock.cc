#include "run_files/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "run_files/foreign_text.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

[[noreturn]] void FailWith(const std::filesystem::path& file, const std::string& what) {
  throw InputError(file.string() + ": " + what + ": " + std::strerror(errno));
}

// Whether the open file is the one that has this path now.
bool StandsThere(int descriptor, const std::filesystem::path& file) {
  struct stat opened {};
  struct stat there {};
  return ::fstat(descriptor, &opened) == 0 && ::stat(file.c_str(), &there) == 0 && opened.st_dev == there.st_dev &&
         opened.st_ino == there.st_ino;
}

std::string OwnerIn(int descriptor) {
  char text[300] = {};
  const ssize_t got = ::pread(descriptor, text, sizeof(text) - 1, 0);
  const std::string owner(text, got > 0 ? static_cast<size_t>(got) : 0);
  return owner.empty() || !IsUtf8(owner) ? "another process" : owner;
}

std::string Myself() {
  char host[200] = {};
  ::gethostname(host, sizeof(host) - 1);
  return "process " + std::to_string(::getpid()) + " on " + host;
}

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder) : file_(folder / "run.lock") {
  // An owner that ends removes the file: what was opened just before is the lock of nothing.
  do {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (descriptor_ < 0) FailWith(file_, "cannot be written");
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      const std::string owner = OwnerIn(descriptor_);
      ::close(descriptor_);
      errno = error;
      if (error != EWOULDBLOCK) FailWith(file_, "cannot be locked");
      throw InputError(folder.string() + ": is in use by " + owner + "; give another folder with --out");
    }
  } while (!StandsThere(descriptor_, file_));
  const std::string owner = Myself();
  if (::ftruncate(descriptor_, 0) != 0 || ::pwrite(descriptor_, owner.data(), owner.size(), 0) < 0) {
    const int error = errno;
    ::close(descriptor_);
    errno = error;
    FailWith(file_, "cannot be written");
  }
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : file_(std::move(other.file_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

FolderLock::~FolderLock() {
  if (descriptor_ < 0) return;
  if (StandsThere(descriptor_, file_)) ::unlink(file_.c_str());
  ::close(descriptor_);
}

void FolderLock::Check() const {
  if (StandsThere(descriptor_, file_)) return;
  throw InputError(file_.parent_path().string() + ": was removed or replaced while the run went on");
}

}  // namespace shardcts
