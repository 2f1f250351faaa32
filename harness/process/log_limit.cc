#include "process/log_limit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "run_files/file_text.h"

namespace shardcts {

void LimitLog(const std::filesystem::path& file, uintmax_t max_bytes) noexcept try {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) return;
  const auto size = static_cast<uintmax_t>(info.st_size);
  if (size <= max_bytes) return;
  const int descriptor = OpenRegularFile(file, O_RDWR | O_APPEND);
  if (descriptor < 0) return;
  const uintmax_t kept = max_bytes / 4;
  std::string tail(kept, '\0');
  const ssize_t got = ::pread(descriptor, tail.data(), kept, static_cast<off_t>(size - kept));
  tail.resize(got > 0 ? static_cast<size_t>(got) : 0);
  const std::string note = "\n[shardcts: " + std::to_string(size - 2 * kept) + " bytes of this log were dropped]\n";
  if (::ftruncate(descriptor, static_cast<off_t>(kept)) == 0) {
    const std::string rest = note + tail;
    [[maybe_unused]] const ssize_t written = ::write(descriptor, rest.data(), rest.size());
  }
  ::close(descriptor);
} catch (...) {
  // no memory for the tail: the next call tries again
}

}  // namespace shardcts
