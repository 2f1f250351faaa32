// FolderLock: a run folder has one owner at a time. *Local*.
#pragma once

#include <filesystem>

namespace shardcts {

// Holds DIR/run.lock, a file with the owner's pid and host, as long as the object exists. The lock is the kernel's
// (flock): it ends with the process that holds it, however that ends.
class FolderLock {
 public:
  // Throws InputError when another process holds it, naming that process, or when the file cannot be written.
  explicit FolderLock(const std::filesystem::path& folder);
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();  // removes the file

  // Throws InputError when the folder is not there any more, or has been replaced by another one.
  void Check() const;

 private:
  std::filesystem::path file_;
  int descriptor_ = -1;
};

}  // namespace shardcts
