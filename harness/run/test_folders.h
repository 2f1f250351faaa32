// TestFolders: the folders of a run's tests with phases (docs/design.md, "Phases"). *Local*. One thread at a time.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace shardcts {

class TestFolders {
 public:
  // `root`: what --storage-root says; empty: the folders are below the run folder, OUT/storage. Nothing is made yet.
  TestFolders(std::filesystem::path run_folder, std::filesystem::path root);

  // Before the first Make, with the run folder's lock held. Where folders will be `needed` the run gets one of its own below
  // the root, ROOT/shardcts-ID, which OUT/storage.json names. What an earlier run of this run folder has left there is
  // removed; with `go_on` its folder is used again. Throws InputError when the root is no folder, cannot be written or
  // is full.
  void Open(bool go_on, bool needed);

  // A new, empty folder for a test on an implementation. Throws InputError when it cannot be made.
  std::filesystem::path Make(const std::string& label, const std::string& recording);
  // An earlier run had this one: Make gives no folder of its number.
  void NoteEarlier(const std::filesystem::path& folder);

  // Why the next phase cannot use the folder; empty: it can.
  static std::string ProblemOf(const std::filesystem::path& folder);

  // For the reason of a test that failed: how little space is left; empty: enough.
  std::string Shortage() const;

  // Removes a folder that Make has given, with all that is in it, and what is empty above it.
  void Remove(const std::filesystem::path& folder);
  // Removes every folder but those that Keep was told of, and the run's own where nothing was kept.
  void Keep(const std::filesystem::path& folder) { kept_.insert(folder); }
  void RemoveOthers();
  void Close();

 private:
  std::filesystem::path Pointer() const { return run_folder_ / "storage.json"; }
  // The folder that OUT/storage.json names, if it is this run folder's; else empty.
  std::filesystem::path Earlier() const;
  std::filesystem::path CheckedRoot() const;
  void MakeBelowRoot();

  const std::filesystem::path run_folder_;
  const std::filesystem::path root_;
  std::filesystem::path top_;  // of the run
  std::set<std::filesystem::path> kept_;
  int made_ = 0;
};

}  // namespace shardcts
