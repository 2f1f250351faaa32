// All system calls of checkpoints behind one interface, so that tests can replace it. *Local*.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts::reference {

// A file that is read. A read does not move anything, so several may be in any order.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual int64_t size() const = 0;  // bytes, when it was opened
  // Fills the buffer with the bytes from `offset` on. OSError: fewer are there.
  virtual void ReadAt(int64_t offset, std::span<char> buffer) const = 0;
};

class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual void Append(std::string_view bytes) = 0;
  // Makes sure that the bytes outlive a loss of power, and closes. Without it the file may have any part of them.
  virtual void Finish() = 0;
};

// Held until it is destroyed, or the process ends.
class FolderHold {
 public:
  virtual ~FolderHold() = default;
};

// Every function throws a SemanticError of kind OSError that names the file and what the system says.
class Files {
 public:
  virtual ~Files() = default;
  // The folder and those above it; nothing if it is there. `synced`: the names of what was made outlive a loss of
  // power.
  virtual void MakeFolders(const std::string& folder, bool synced) = 0;
  // RuntimeError: another process, or another part of this one, holds it for a save.
  virtual std::unique_ptr<FolderHold> HoldForSave(const std::string& folder) = 0;
  virtual bool Exists(const std::string& file) = 0;
  // A new file: OSError if it is there. Not a link's target.
  virtual std::unique_ptr<WritableFile> Create(const std::string& file) = 0;
  // A regular file; not a link's target.
  virtual std::unique_ptr<ReadableFile> Open(const std::string& file) = 0;
  // The same of a file below the folder; on the way from there no link is followed.
  virtual std::unique_ptr<ReadableFile> OpenBelow(const std::string& folder, const std::string& relative) = 0;
  virtual void Rename(const std::string& from, const std::string& to) = 0;
  // Makes sure that the folder's entries outlive a loss of power.
  virtual void SyncFolder(const std::string& folder) = 0;
  virtual std::vector<std::string> Names(const std::string& folder) = 0;  // sorted
  // With everything below it. Never fails: what cannot be removed stays.
  virtual void RemoveIfPossible(const std::string& folder) = 0;
};

// The disk. Writes go on after interruptions and short writes.
Files& Disk();

// The complete text of a file. RuntimeError: more than `max_bytes`.
std::string ReadText(Files& files, const std::string& file, int64_t max_bytes);

}  // namespace shardcts::reference
