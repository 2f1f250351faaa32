// TestFolders: the folders of tests with phases (docs/design.md, "Phases"). *Local*. One thread at a time.
#pragma once

#include <filesystem>
#include <string>

namespace shardcts {

class TestFolders {
 public:
  // Those of a run: below OUT/storage.
  explicit TestFolders(const std::filesystem::path& run_folder) : top_(run_folder / "storage") {}

  // A new, empty folder for a test on an implementation. Throws InputError when it cannot be made.
  std::filesystem::path Make(const std::string& label, const std::string& recording);

  // Why the next phase cannot use the folder; empty: it can.
  static std::string ProblemOf(const std::filesystem::path& folder);

  // Removes a folder that Make has given, with all that is in it, and what is empty above it.
  void Remove(const std::filesystem::path& folder);

 private:
  std::filesystem::path top_;
  int made_ = 0;
};

}  // namespace shardcts
