// Zip archives, by libzip. *Local*.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

struct zip;

namespace shardcts {

// An archive from outside: everything that it says is checked. Its entries are only read into memory, so their names
// are never used as paths.
class ZipReader {
 public:
  static constexpr size_t kMaxEntries = 100'000;
  static constexpr size_t kMaxBytes = size_t{4} << 30;  // of all entries, unpacked

  // Throws InputError naming the file: not a zip, damaged, encrypted, an entry twice, too many or too large.
  explicit ZipReader(const std::filesystem::path& file);
  ~ZipReader();

  const std::filesystem::path& file() const { return file_; }
  const std::map<std::string, size_t>& entries() const { return sizes_; }  // name -> bytes, unpacked
  // nullopt: no such entry. Throws InputError for an entry that is larger than `most`, or damaged.
  std::optional<std::string> Read(const std::string& name, size_t most) const;

 private:
  std::filesystem::path file_;
  std::unique_ptr<zip, void (*)(zip*)> archive_;
  std::map<std::string, size_t> sizes_;
};

// Entries have no time of their own: the same content makes the same file.
class ZipWriter {
 public:
  // Throws InputError when the file cannot be written. An existing one is replaced by Close.
  explicit ZipWriter(const std::filesystem::path& file);
  ~ZipWriter();
  void Add(const std::string& name, std::string bytes);
  void Close();

 private:
  std::filesystem::path file_;
  std::unique_ptr<zip, void (*)(zip*)> archive_;
  std::map<std::string, std::string> entries_;  // kept until libzip has written them
};

}  // namespace shardcts
