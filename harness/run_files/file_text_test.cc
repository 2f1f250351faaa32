#include "run_files/file_text.h"

#include <gtest/gtest.h>
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
