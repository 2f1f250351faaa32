#include "run_files/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using testing::HasSubstr;

std::string ErrorOfFolder(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

TEST(FolderNameTest, KeepsPlainCharacters) {
  EXPECT_EQ(FolderName("torch+mutant=x,backend=gloo"), "torch+mutant=x_backend=gloo");
  EXPECT_EQ(FolderName("s/T.a/mesh=1-D"), "s_T.a_mesh=1-D");
  EXPECT_EQ(FolderName(".."), "___");
  EXPECT_EQ(FolderName(""), "_");
}

TEST(FolderNameTest, LongNamesStayDifferent) {
  const std::string a(200, 'a');
  EXPECT_EQ(FolderName(a).size(), 150u);
  EXPECT_NE(FolderName(a), FolderName(a + "b"));
}

TEST(RunFolderTest, EarlierRunIsRemovedAndStrangersAreNot) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out";
  { const FolderLock first = PrepareRunFolder(out); }
  std::filesystem::create_directories(out / "traces" / "x");
  const FolderLock second = PrepareRunFolder(out);
  EXPECT_FALSE(std::filesystem::exists(out / "traces"));
  EXPECT_EQ(ReadJsonFile(out / "results.json")["complete"], false);
  EXPECT_THAT(ErrorOfFolder([&] { const FolderLock lock = PrepareRunFolder(folder.path()); }), HasSubstr("is not empty and holds no earlier run"));
}

TEST(RunFolderTest, FolderOfAnotherProgramIsLeftAlone) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "results.json") << "{\"loss\": 0.5}";
  std::filesystem::create_directories(folder.path() / "runs/mine");
  EXPECT_THAT(ErrorOfFolder([&] { const FolderLock lock = PrepareRunFolder(folder.path()); }),
              HasSubstr("holds no earlier run"));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "runs/mine"));
}

TEST(RunFolderTest, FileInItsPlaceIsAnInputError) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "file") << "x";
  EXPECT_THAT(ErrorOfFolder([&] { const FolderLock lock = PrepareRunFolder(folder.path() / "file"); }), HasSubstr("cannot be made a folder"));
  EXPECT_THAT(ErrorOfFolder([&] { const FolderLock lock = PrepareRunFolder("/proc/nothing/out"); }), HasSubstr("/proc/nothing/out"));
}

}  // namespace
}  // namespace shardcts
