#include "process/pool_temporaries.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include "process/process.h"
#include "run_files/remove_tree.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kOnlyThisUser = 0700;

fs::path SystemTemporaries() {
  std::error_code error;
  return fs::temp_directory_path(error);  // empty: there is none
}

// Empty: there is no folder for temporary files.
fs::path PlaceOf(const std::string& token) {
  static const fs::path all = SystemTemporaries();  // before TMPDIR is changed: a warm process's ranks have another one
  return all.empty() ? fs::path() : all / ("shardcts-" + token.substr(token.find('-') + 1));
}

}  // namespace

void MakePoolTemporaries(const std::string& token) { ::mkdir(PlaceOf(token).c_str(), kOnlyThisUser); }

void RemovePoolTemporaries(const std::string& token) {
  if (const fs::path place = PlaceOf(token); !place.empty()) RemoveTree(place);
}

void UsePoolTemporaries() {
  const char* token = std::getenv(kPoolTokenName);
  if (token == nullptr) return;
  std::error_code error;
  const fs::path place = PlaceOf(token);
  if (fs::symlink_status(place, error).type() == fs::file_type::directory) ::setenv("TMPDIR", place.c_str(), 1);
}

}  // namespace shardcts
