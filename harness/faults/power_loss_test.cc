#include "faults/power_loss.h"

#include <fcntl.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts::faults {
namespace {

using testing::Contains;
using testing::Not;

Operation Made(const std::string& path) { return {.kind = Kind::kOpen, .path = path, .flags = O_CREAT | O_WRONLY}; }
Operation Written(const std::string& path, int64_t offset, const std::string& bytes) {
  return {.kind = Kind::kWrite,
          .path = path,
          .offset = offset,
          .result = static_cast<int64_t>(bytes.size()),
          .bytes = bytes};
}
Operation Synced(const std::string& path) { return {.kind = Kind::kSync, .path = path}; }
Operation Renamed(const std::string& from, const std::string& to) {
  return {.kind = Kind::kRename, .path = from, .to = to};
}

std::vector<FileTree> TreesAtEnd(const FileTree& before, const std::vector<Operation>& operations) {
  std::vector<FileTree> trees;
  for (const PowerLoss& loss : PowerLosses(before, operations)) {
    if (loss.after == operations.size()) trees.push_back(loss.tree);
  }
  return trees;
}

TEST(PowerLoss, ReplaysALog) {
  const std::vector<Operation> log = {{.kind = Kind::kMakeFolder, .path = "d"},
                                      Made("d/a"),
                                      Written("d/a", 0, "hello"),
                                      Written("d/a", 1, "E"),
                                      Renamed("d", "e"),
                                      {.kind = Kind::kUnlink, .path = "old"}};
  EXPECT_EQ((FileTree{{"e/", ""}, {"e/a", "hEllo"}}), Replay({{"old", "x"}}, log));
}

TEST(PowerLoss, KeepsWhatWasSyncedWithItsName) {
  EXPECT_THAT(TreesAtEnd({}, {Made("a"), Written("a", 0, "new"), Synced("a"), Synced(".")}),
              testing::ElementsAre(FileTree{{"a", "new"}}));
}

TEST(PowerLoss, LosesNamesAndContentThatWereNotSynced) {
  const std::vector<FileTree> trees = TreesAtEnd({}, {Made("a"), Written("a", 0, "new!")});
  EXPECT_THAT(trees, testing::UnorderedElementsAre(FileTree{{"a", "new!"}}, FileTree{}, FileTree{{"a", ""}},
                                                   FileTree{{"a", std::string(4, '\0')}}, FileTree{{"a", "ne"}}));
  EXPECT_THAT(TreesAtEnd({}, {Made("a"), Written("a", 0, "new!"), Synced("a")}), Contains(FileTree{}));
}

TEST(PowerLoss, ARenamingMayLastWithoutTheContent) {
  const FileTree before = {{"a", "old"}};
  const std::vector<FileTree> trees = TreesAtEnd(before, {Made("t"), Written("t", 0, "new"), Renamed("t", "a")});
  EXPECT_THAT(trees, Contains(FileTree{{"a", ""}}));
  EXPECT_THAT(trees, Contains(before));
  const std::vector<FileTree> synced =
      TreesAtEnd(before, {Made("t"), Written("t", 0, "new"), Synced("t"), Renamed("t", "a")});
  EXPECT_THAT(synced, Not(Contains(FileTree{{"a", ""}})));
  EXPECT_THAT(synced, Contains(before));
}

TEST(PowerLoss, ARemovalMayNotLast) {
  EXPECT_THAT(TreesAtEnd({{"a", "old"}}, {{.kind = Kind::kUnlink, .path = "a"}}), Contains(FileTree{{"a", "old"}}));
}

TEST(PowerLoss, NamesWhatTheLogLacks) {
  EXPECT_EQ("", DifferenceToLog({}, {Made("a")}, {{"a", ""}}));
  EXPECT_EQ("a was written unseen", DifferenceToLog({}, {Made("a")}, {{"a", "x"}}));
  EXPECT_EQ("b was made unseen", DifferenceToLog({}, {Made("a")}, {{"a", ""}, {"b", ""}}));
  EXPECT_EQ("a was removed unseen", DifferenceToLog({}, {Made("a")}, {}));
}

}  // namespace
}  // namespace shardcts::faults
