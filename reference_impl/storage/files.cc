#include "storage/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void Fail(const std::string& file, const std::string& what) {
  throw SemanticError("OSError", file + ": " + what);
}
[[noreturn]] void FailWithErrno(const std::string& file, const char* call) {
  Fail(file, std::string(call) + ": " + std::strerror(errno));
}

class Descriptor {
 public:
  Descriptor(const std::string& file, int flags, mode_t mode = 0) : file_(file) {
    do number_ = ::open(file.c_str(), flags | O_CLOEXEC, mode);
    while (number_ < 0 && errno == EINTR);
    if (number_ < 0) FailWithErrno(file, "open");
  }
  // What is of this name in an open folder; `file` is for messages.
  Descriptor(const Descriptor& folder, const std::string& name, const std::string& file, int flags) : file_(file) {
    do number_ = ::openat(folder.number(), name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW);
    while (number_ < 0 && errno == EINTR);
    if (number_ < 0) FailWithErrno(file, "open");
  }
  Descriptor(Descriptor&& other) noexcept : file_(std::move(other.file_)), number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(number_, other.number_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }
  const std::string& file() const { return file_; }
  void Sync() const {
    if (::fsync(number_) != 0) FailWithErrno(file_, "fsync");
  }
  void Close() {
    if (::close(std::exchange(number_, -1)) != 0 && errno != EINTR) FailWithErrno(file_, "close");
  }

 private:
  std::string file_;
  int number_ = -1;
};

constexpr int kToRead = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;

// Walks down name by name: a link on the way is an error.
Descriptor OpenedBelow(const std::string& folder, const std::string& relative) {
  const std::string file = folder + "/" + relative;
  Descriptor at(folder, O_RDONLY | O_DIRECTORY);
  size_t begin = 0;
  for (size_t slash = relative.find('/'); slash != relative.npos; slash = relative.find('/', begin)) {
    at = Descriptor(at, relative.substr(begin, slash - begin), file, O_RDONLY | O_DIRECTORY);
    begin = slash + 1;
  }
  return Descriptor(at, relative.substr(begin), file, kToRead);
}

class DiskReadable final : public ReadableFile {
 public:
  explicit DiskReadable(Descriptor descriptor) : descriptor_(std::move(descriptor)) {
    struct stat status;
    if (::fstat(descriptor_.number(), &status) != 0) FailWithErrno(descriptor_.file(), "fstat");
    if (!S_ISREG(status.st_mode)) Fail(descriptor_.file(), "is not a regular file");
    size_ = status.st_size;
  }
  int64_t size() const override { return size_; }
  void ReadAt(int64_t offset, std::span<char> buffer) const override {
    while (!buffer.empty()) {
      const ssize_t count = ::pread(descriptor_.number(), buffer.data(), buffer.size(), offset);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) FailWithErrno(descriptor_.file(), "read");
      if (count == 0) Fail(descriptor_.file(), "ends at byte " + std::to_string(offset) + ", more was expected");
      buffer = buffer.subspan(static_cast<size_t>(count));
      offset += count;
    }
  }

 private:
  Descriptor descriptor_;
  int64_t size_ = 0;
};

class DiskWritable final : public WritableFile {
 public:
  explicit DiskWritable(const std::string& file) : descriptor_(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644) {}
  void Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor_.number(), bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) FailWithErrno(descriptor_.file(), "write");
      bytes.remove_prefix(static_cast<size_t>(count));
    }
  }
  void Finish() override {
    descriptor_.Sync();
    descriptor_.Close();
  }

 private:
  Descriptor descriptor_;
};

class DiskHold final : public FolderHold {
 public:
  explicit DiskHold(const std::string& folder) : descriptor_(folder, O_RDONLY | O_DIRECTORY) {
    if (::flock(descriptor_.number(), LOCK_EX | LOCK_NB) == 0) return;
    if (errno == EWOULDBLOCK) throw SemanticError("RuntimeError", folder + ": another save is under way");
    FailWithErrno(folder, "flock");
  }

 private:
  Descriptor descriptor_;
};

class DiskFiles final : public Files {
 public:
  void MakeFolders(const std::string& folder, bool synced) override {
    std::error_code error;
    std::vector<std::string> parents;  // of what is made
    for (fs::path path = folder; synced && path.has_relative_path() && !fs::exists(path, error);
         path = path.parent_path()) {
      parents.push_back(path.has_parent_path() ? path.parent_path().string() : ".");
    }
    fs::create_directories(folder, error);
    if (!error && !fs::is_directory(folder, error)) Fail(folder, "is not a folder");
    if (error) Fail(folder, "mkdir: " + error.message());
    for (const std::string& parent : parents) SyncFolder(parent);
  }
  std::unique_ptr<FolderHold> HoldForSave(const std::string& folder) override {
    return std::make_unique<DiskHold>(folder);
  }
  bool Exists(const std::string& file) override {
    struct stat status;
    if (::lstat(file.c_str(), &status) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    FailWithErrno(file, "stat");
  }
  std::unique_ptr<WritableFile> Create(const std::string& file) override {
    return std::make_unique<DiskWritable>(file);
  }
  std::unique_ptr<ReadableFile> Open(const std::string& file) override {
    return std::make_unique<DiskReadable>(Descriptor(file, kToRead));
  }
  std::unique_ptr<ReadableFile> OpenBelow(const std::string& folder, const std::string& relative) override {
    return std::make_unique<DiskReadable>(OpenedBelow(folder, relative));
  }
  void Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) FailWithErrno(to, "rename");
  }
  void SyncFolder(const std::string& folder) override { Descriptor(folder, O_RDONLY | O_DIRECTORY).Sync(); }
  std::vector<std::string> Names(const std::string& folder) override {
    std::error_code error;
    std::vector<std::string> names;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) Fail(folder, "list: " + error.message());
    std::ranges::sort(names);
    return names;
  }
  void RemoveIfPossible(const std::string& folder) override {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
};

}  // namespace

Files& Disk() {
  static DiskFiles disk;
  return disk;
}

std::string ReadText(Files& files, const std::string& file, int64_t max_bytes) {
  const std::unique_ptr<ReadableFile> opened = files.Open(file);
  if (opened->size() > max_bytes) {
    throw SemanticError("RuntimeError", file + ": has " + std::to_string(opened->size()) + " bytes, more than " +
                                            std::to_string(max_bytes));
  }
  std::string text(static_cast<size_t>(opened->size()), '\0');
  opened->ReadAt(0, text);
  return text;
}

}  // namespace shardcts::reference
