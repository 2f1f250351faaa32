#include "run_files/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "run_files/input_error.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

std::string ErrorOf(const std::filesystem::path& folder) {
  try {
    const FolderLock lock(folder);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

TEST(FolderLockTest, SecondOwnerIsRefusedAndTheFirstIsNamed) {
  const TemporaryFolder folder;
  const FolderLock lock(folder.path());
  EXPECT_THAT(ErrorOf(folder.path()), testing::HasSubstr("is in use by process " + std::to_string(::getpid()) + " on "));
}

TEST(FolderLockTest, FolderIsFreeAfterItsOwner) {
  const TemporaryFolder folder;
  { const FolderLock lock(folder.path()); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_EQ(ErrorOf(folder.path()), "none");
}

TEST(FolderLockTest, LockOfAKilledOwnerDoesNotBlock) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FolderLock lock(folder.path());
    [[maybe_unused]] const ssize_t written = ::write(ready[1], "x", 1);
    while (true) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THAT(ErrorOf(folder.path()), testing::HasSubstr("process " + std::to_string(child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "run.lock"));
  EXPECT_EQ(ErrorOf(folder.path()), "none");
}

TEST(FolderLockTest, FolderThatIsGoneOrReplacedIsNoticed) {
  const TemporaryFolder parent;
  const std::filesystem::path folder = parent.path() / "out";
  std::filesystem::create_directories(folder);
  const FolderLock lock(folder);
  lock.Check();
  std::filesystem::remove_all(folder);
  EXPECT_THROW(lock.Check(), InputError);
  std::filesystem::create_directories(folder);
  const FolderLock other(folder);
  EXPECT_THROW(lock.Check(), InputError);
}

}  // namespace
}  // namespace shardcts
