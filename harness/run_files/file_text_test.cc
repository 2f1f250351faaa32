#include "run_files/file_text.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

TEST(FileTextTest, FromTheBeginningOrFurtherOn) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "log") << "one\ntwo\n";
  EXPECT_EQ(FileText(folder.path() / "log"), "one\ntwo\n");
  EXPECT_EQ(FileText(folder.path() / "log", 4), "two\n");
  EXPECT_EQ(FileText(folder.path() / "log", 100), "");
  EXPECT_EQ(FileText(folder.path() / "nothing"), "");
}

TEST(FileTextTest, NothingButARegularFileIsOpened) {
  const TemporaryFolder folder;
  const auto pipe = folder.path() / "pipe", link = folder.path() / "link";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0644), 0);
  std::ofstream(folder.path() / "file") << "text";
  std::filesystem::create_symlink(folder.path() / "file", link);
  for (const auto& file : {pipe, link, folder.path(), std::filesystem::path("/dev/zero")}) {
    EXPECT_EQ(FileText(file), "") << file;
    EXPECT_EQ(OpenRegularFile(file, O_WRONLY | O_APPEND), -1) << file;
  }
}

TEST(FileTextTest, FilesOfProcWithAndWithoutTheirProcess) {
  EXPECT_NE(FileText("/proc/self/environ"), "");
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_GT(child, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(FileText("/proc/" + std::to_string(child) + "/environ"), "");
}

}  // namespace
}  // namespace shardcts
