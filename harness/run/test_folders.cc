#include "run/test_folders.h"

#include <cerrno>
#include <cstring>
#include <system_error>

#include <sys/stat.h>

#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {

namespace fs = std::filesystem;

fs::path TestFolders::Make(const std::string& label, const std::string& recording) {
  const fs::path parent = top_ / FolderName(label);
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) throw InputError(parent.string() + ": cannot be made a folder: " + error.message());
  const fs::path folder = parent / (std::to_string(++made_) + "-" + FolderName(recording));
  if (::mkdir(folder.c_str(), 0777) != 0) {
    throw InputError(folder.string() + ": cannot be made a folder: " + std::strerror(errno));
  }
  return folder;
}

std::string TestFolders::ProblemOf(const fs::path& folder) {
  std::error_code none;
  const fs::file_type type = fs::symlink_status(folder, none).type();
  if (type == fs::file_type::directory) return "";
  if (type == fs::file_type::not_found) return "the test's folder is gone: " + folder.string();
  return "the test's folder was replaced by something else: " + folder.string();
}

void TestFolders::Remove(const fs::path& folder) {
  std::error_code none;
  fs::remove_all(folder, none);
  for (fs::path above = folder.parent_path(); above.string().size() >= top_.string().size(); above = above.parent_path()) {
    if (!fs::remove(above, none)) return;  // it is not empty
  }
}

}  // namespace shardcts
