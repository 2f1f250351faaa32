#include "recording/blobs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "contract/tensor_bytes.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigestDigits = 32;

[[noreturn]] void FailWith(const fs::path& file, const char* what) {
  throw std::runtime_error(file.string() + ": " + what + ": " + std::strerror(errno));
}

// Bytes on their way to a file; what is not moved there is removed again.
class UnfinishedFile {
 public:
  explicit UnfinishedFile(const fs::path& folder) : name_((folder / "XXXXXX").string()) {
    fs::create_directories(folder);
    descriptor_ = ::mkostemp(name_.data(), O_CLOEXEC);
    if (descriptor_ < 0) FailWith(name_, "cannot be made");
  }
  UnfinishedFile(const UnfinishedFile&) = delete;
  UnfinishedFile& operator=(const UnfinishedFile&) = delete;
  ~UnfinishedFile() {
    ::close(descriptor_);
    if (!moved_) ::unlink(name_.c_str());
  }

  void Write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) FailWith(name_, "cannot be written");
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }
  void MoveTo(const fs::path& file) {
    ::fchmod(descriptor_, 0644);
    if (::rename(name_.c_str(), file.c_str()) != 0) FailWith(file, "cannot be made");
    moved_ = true;
  }

 private:
  std::string name_;
  int descriptor_;
  bool moved_ = false;
};

}  // namespace

bool IsDigest(std::string_view text) {
  return text.size() == kDigestDigits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

void BlobStore::Put(const std::string& digest, std::string_view bytes) {
  if (!known_.insert(digest).second) return;
  const fs::path file = folder_ / digest;
  if (::access(file.c_str(), F_OK) == 0) return;
  UnfinishedFile unfinished(folder_ / "unfinished");
  unfinished.Write(bytes);
  unfinished.MoveTo(file);
}

std::string BlobSource::Read(const std::string& digest, size_t most) const {
  if (!IsDigest(digest)) throw InputError(FileName("") + ": not a digest: \"" + digest.substr(0, 100) + "\"");
  std::optional<std::string> bytes = Load(digest, most);
  if (!bytes) throw InputError(FileName(digest) + ": cannot be read");
  if (bytes->size() > most) throw InputError(FileName(digest) + ": larger than " + std::to_string(most) + " bytes");
  if (Digest(*bytes) != digest) throw InputError(FileName(digest) + ": has other bytes than its digest says");
  return *std::move(bytes);
}

std::optional<std::string> FolderBlobs::Load(const std::string& digest, size_t most) const {
  const fs::path file = folder_ / digest;
  std::error_code error;
  const uintmax_t size = fs::is_regular_file(file, error) ? fs::file_size(file, error) : 0;
  std::ifstream stream(file, std::ios::binary);
  if (error || !stream) return std::nullopt;
  std::string bytes(std::min<uintmax_t>(size, uintmax_t{most} + 1), '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(stream.gcount()));
  return bytes;
}

}  // namespace shardcts
