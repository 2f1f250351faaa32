// Blobs: bytes that are stored once per run, each in a file named by its digest (docs/formats.md). *Local*.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace shardcts {

// The most that one blob may have.
inline constexpr size_t kMaxBlobBytes = size_t{4} << 30;

// 32 digits of 0-9a-f: a text that is safe as a file's name.
bool IsDigest(std::string_view text);

// Writes blobs. Any number of processes may write to one folder, the same blobs too: a file appears complete or not at
// all.
class BlobStore {
 public:
  explicit BlobStore(std::filesystem::path folder) : folder_(std::move(folder)) {}
  // Writes the bytes of this digest unless they are there. Throws std::runtime_error when it cannot.
  void Put(const std::string& digest, std::string_view bytes);

 private:
  std::filesystem::path folder_;
  std::set<std::string> known_;  // to be there
};

// Reads blobs from a folder or an archive; the bytes are not trusted.
class BlobSource {
 public:
  virtual ~BlobSource() = default;
  // At most `most` bytes. Throws InputError naming the blob's file: no digest, not there, too large, other bytes.
  std::string Read(const std::string& digest, size_t most = kMaxBlobBytes) const;

 private:
  virtual std::string FileName(const std::string& digest) const = 0;  // for messages
  // nullopt: not there. Larger than `most`: any text that is larger.
  virtual std::optional<std::string> Load(const std::string& digest, size_t most) const = 0;
};

class FolderBlobs : public BlobSource {
 public:
  explicit FolderBlobs(std::filesystem::path folder) : folder_(std::move(folder)) {}

 private:
  std::string FileName(const std::string& digest) const override { return folder_ / digest; }
  std::optional<std::string> Load(const std::string& digest, size_t most) const override;

  std::filesystem::path folder_;
};

}  // namespace shardcts
