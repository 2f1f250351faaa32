#include "run/test_folders.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "process/process.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/remove_tree.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kMarker = "shardcts-run.json";  // in the run's folder below a root: whose it is
constexpr const char* kPrefix = "shardcts-";
constexpr uint64_t kLittleSpace = 1 << 20;

void MakeFolder(const fs::path& folder) {
  if (::mkdir(folder.c_str(), 0777) == 0) return;
  throw InputError(folder.string() + ": cannot be made a folder: " + std::strerror(errno));
}

bool IsRealFolder(const fs::path& folder) {
  std::error_code none;
  return fs::symlink_status(folder, none).type() == fs::file_type::directory;
}

// Of a file that a run has written, which somebody may have changed since.
std::string TextIn(const fs::path& file, const char* key) {
  try {
    return ReadJsonFile(file).at(key).get<std::string>();
  } catch (const std::exception&) {
    return "";
  }
}

}  // namespace

TestFolders::TestFolders(fs::path run_folder, fs::path root)
    : run_folder_(std::move(run_folder)), root_(std::move(root)), top_(run_folder_ / "storage") {}

fs::path TestFolders::Earlier() const {
  const fs::path folder = TextIn(Pointer(), "folder");
  if (!folder.is_absolute() || !folder.filename().string().starts_with(kPrefix) || !IsRealFolder(folder)) return {};
  return TextIn(folder / kMarker, "run_folder") == run_folder_.string() ? folder : fs::path();
}

void TestFolders::Open(bool go_on, bool needed) {
  const fs::path earlier = Earlier();
  if (!root_.empty()) CheckedRoot();
  if (go_on && !root_.empty() && !earlier.empty()) {
    top_ = earlier;
    return;
  }
  if (!go_on && !earlier.empty()) RemoveTree(earlier);
  std::error_code none;
  if (!go_on) fs::remove(Pointer(), none);
  if (!root_.empty() && needed) MakeBelowRoot();
}

fs::path TestFolders::CheckedRoot() const {
  std::error_code error;
  const fs::path root = fs::canonical(root_, error);
  if (error) throw InputError("--storage-root " + root_.string() + ": " + error.message());
  if (!fs::is_directory(root)) throw InputError("--storage-root " + root_.string() + ": is no folder");
  return root;
}

void TestFolders::MakeBelowRoot() {
  std::error_code error;
  const fs::path folder = CheckedRoot() / (kPrefix + MakePoolToken().substr(0, 40));
  MakeFolder(folder);
  try {
    // First whose it is: a run that is killed here has left nothing that nobody knows.
    WriteFileAtomically(folder / kMarker, Json{{"run_folder", run_folder_.string()}}.dump() + "\n");
    WriteFileAtomically(Pointer(), Json{{"folder", folder.string()}}.dump() + "\n");
  } catch (const InputError&) {
    fs::remove_all(folder, error);
    throw;
  }
  top_ = folder;
}

fs::path TestFolders::Make(const std::string& label, const std::string& recording) {
  const fs::path parent = top_ / FolderName(label);
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) throw InputError(parent.string() + ": cannot be made a folder: " + error.message());
  const fs::path folder = parent / (std::to_string(++made_) + "-" + FolderName(recording));
  MakeFolder(folder);
  return folder;
}

void TestFolders::NoteEarlier(const fs::path& folder) {
  const std::string name = folder.filename().string();
  int number = 0;
  std::from_chars(name.data(), name.data() + name.size(), number);
  made_ = std::max(made_, number);
}

std::string TestFolders::ProblemOf(const fs::path& folder) {
  std::error_code none;
  if (IsRealFolder(folder)) return "";
  const bool gone = fs::symlink_status(folder, none).type() == fs::file_type::not_found;
  return (gone ? "the test's folder is gone: " : "the test's folder was replaced by something else: ") + folder.string();
}

std::string TestFolders::Shortage() const {
  struct statvfs space {};
  if (::statvfs(top_.c_str(), &space) != 0) return "";
  const uint64_t left = static_cast<uint64_t>(space.f_bavail) * space.f_frsize;
  return left < kLittleSpace ? "; the file system of the folder has " + std::to_string(left) + " bytes left" : "";
}

void TestFolders::Remove(const fs::path& folder) {
  RemoveTree(folder);
  std::error_code none;
  fs::path above = folder.parent_path();
  if (above != top_ && fs::is_empty(above, none)) fs::remove(above, none);
}

void TestFolders::RemoveOthers() {
  std::error_code none;
  for (const auto& label : fs::directory_iterator(top_, none)) {
    if (!IsRealFolder(label.path())) continue;
    for (const auto& folder : fs::directory_iterator(label.path(), none)) {
      if (!kept_.contains(folder.path())) RemoveTree(folder.path());
    }
    if (fs::is_empty(label.path(), none)) fs::remove(label.path(), none);
  }
}

void TestFolders::Close() {
  RemoveOthers();
  if (!kept_.empty()) return;
  std::error_code none;
  if (!root_.empty()) fs::remove(top_ / kMarker, none);
  if (fs::remove(top_, none) && !root_.empty()) fs::remove(Pointer(), none);
}

}  // namespace shardcts
