#include "run_files/file_text.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shardcts {

int OpenRegularFile(const std::filesystem::path& file, int flags) {
  const int descriptor = ::open(file.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat info {};
  if (descriptor < 0 || (::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode))) return descriptor;
  ::close(descriptor);
  return -1;
}

std::string FileText(const std::filesystem::path& file, uintmax_t begin) {
  std::string text;
  const int descriptor = OpenRegularFile(file, O_RDONLY);
  if (descriptor < 0) return text;
  char buffer[1 << 14];
  ::lseek(descriptor, static_cast<off_t>(begin), SEEK_SET);
  for (ssize_t got = 0; (got = ::read(descriptor, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  ::close(descriptor);
  return text;
}

}  // namespace shardcts
