// TemporaryFolder, for tests. *Local*.
#pragma once

#include <filesystem>

namespace shardcts {

// A folder that is removed again.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace shardcts
