#include "run_files/remove_tree.h"

namespace shardcts {

namespace fs = std::filesystem;

void RemoveTree(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) return;
  for (fs::recursive_directory_iterator entry(folder, error), end; entry != end; entry.increment(error)) {
    if (entry->is_directory() && !entry->is_symlink()) fs::permissions(*entry, fs::perms::owner_all, error);
  }
  fs::remove_all(folder, error);
}

}  // namespace shardcts
