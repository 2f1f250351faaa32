#include "faults/faults.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts::faults {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

class FaultsTest : public testing::Test {
 protected:
  FaultsTest() {
    std::string name = (fs::temp_directory_path() / "faults-XXXXXX").string();
    above_ = ::mkdtemp(name.data());
    root_ = above_ / "root";
    fs::create_directory(root_);
  }
  ~FaultsTest() override {
    Disarm();
    fs::remove_all(above_);
  }
  std::string At(const std::string& name) const { return (root_ / name).string(); }
  std::string Log() const { return (above_ / "log").string(); }
  FaultPlan Plan() const { return {.root = root_.string(), .log = Log(), .rank = 3, .with_bytes = true}; }

  // The names of the operations that the layer sees of `body`.
  std::vector<std::string> KindsOf(const std::function<void()>& body) {
    fs::remove(Log());
    Arm(Plan());
    body();
    seen_ = Disarm();
    std::vector<std::string> kinds;
    for (const Operation& operation : ReadLog(Log())) kinds.push_back(NameOf(operation.kind));
    return kinds;
  }
  int Open(const std::string& name, int flags = O_CREAT | O_RDWR) const {
    return ::open(At(name).c_str(), flags, 0644);
  }

  // How a child ends that does `body` under this plan.
  int StatusOf(const FaultPlan& plan, const std::function<void()>& body) const {
    const pid_t child = ::fork();
    if (child == 0) {
      Arm(plan);
      body();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }

  fs::path above_, root_;
  Seen seen_;
};

std::string Content(const std::string& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST_F(FaultsTest, StandsBeforeLibc) { EXPECT_TRUE(IsInPlace()); }

TEST_F(FaultsTest, SeesEveryWayToWrite) {
  const auto writes = [&] {
    const int file = Open("a");
    const iovec part{const_cast<char*>("xy"), 2};
    EXPECT_EQ(2, ::write(file, "ab", 2));
    EXPECT_EQ(2, ::pwrite(file, "ab", 2, 10));
    EXPECT_EQ(2, ::pwrite64(file, "ab", 2, 10));
    EXPECT_EQ(2, ::writev(file, &part, 1));
    EXPECT_EQ(2, ::pwritev(file, &part, 1, 0));
    EXPECT_EQ(2, ::pwritev2(file, &part, 1, 0, 0));
    EXPECT_EQ(2, ::syscall(SYS_write, file, "ab", 2));
    ::close(file);
  };
  EXPECT_THAT(KindsOf(writes),
              ElementsAre("open", "write", "write", "write", "write", "write", "write", "write", "close"));
  const std::vector<Operation> log = ReadLog(Log());
  EXPECT_EQ("a", log[1].path);
  EXPECT_EQ(3, log[1].rank);
  EXPECT_EQ("ab", log[1].bytes);
  EXPECT_EQ(10, log[2].offset);
  EXPECT_EQ(2, log[4].offset);  // after the first write
  EXPECT_EQ(log[1].file, log[8].file);
}

TEST_F(FaultsTest, SeesEveryWayToOpen) {
  const auto opens = [&] {
    ::close(::openat(AT_FDCWD, At("a").c_str(), O_CREAT | O_WRONLY, 0644));
    ::close(::creat(At("b").c_str(), 0644));
    ::close(static_cast<int>(::syscall(SYS_openat, AT_FDCWD, At("c").c_str(), O_CREAT | O_WRONLY, 0644)));
    std::string name = At("d-XXXXXX");
    ::close(::mkstemp(name.data()));
    const int folder = ::open(root_.c_str(), O_RDONLY | O_DIRECTORY);
    ::close(::openat(folder, "./x/../e", O_CREAT | O_WRONLY, 0644));  // x is not there: ENOENT
    ::close(::openat(folder, "e", O_CREAT | O_WRONLY, 0644));
    ::close(folder);
    ::close(::open(At("a").c_str(), O_RDONLY));
  };
  EXPECT_THAT(KindsOf(opens),
              ElementsAre("open", "close", "open", "close", "open", "close", "open", "close", "open", "open", "close"));
  EXPECT_EQ("e", ReadLog(Log()).back().path);
}

TEST_F(FaultsTest, SeesStreams) {
  const auto streams = [&] {
    FILE* file = std::fopen(At("a").c_str(), "w");
    std::fputs("hello", file);
    std::fflush(file);
    EXPECT_EQ(0, ::fsync(::fileno(file)));
    std::fclose(file);
    std::ofstream(At("b")) << "world";
  };
  EXPECT_THAT(KindsOf(streams), ElementsAre("open", "write", "sync", "close", "open", "write", "close"));
  EXPECT_EQ("hello", Content(At("a")));
  EXPECT_EQ("world", Content(At("b")));
}

TEST_F(FaultsTest, SeesWhatChangesNames) {
  const auto names = [&] {
    ::mkdir(At("m").c_str(), 0755);
    ::mkdirat(AT_FDCWD, At("m/n").c_str(), 0755);
    ::close(Open("a"));
    ::rename(At("a").c_str(), At("b").c_str());
    ::renameat(AT_FDCWD, At("b").c_str(), AT_FDCWD, At("c").c_str());
    ::link(At("c").c_str(), At("d").c_str());
    ::unlink(At("d").c_str());
    std::remove(At("c").c_str());
    ::rmdir(At("m/n").c_str());
    fs::remove_all(root_ / "m");
    fs::create_directories(root_ / "p");
    fs::rename(root_ / "p", root_ / "q");
  };
  EXPECT_THAT(KindsOf(names), ElementsAre("mkdir", "mkdir", "open", "close", "rename", "rename", "link", "unlink",
                                          "unlink", "rmdir", "rmdir", "mkdir", "rename"));
  EXPECT_EQ("b", ReadLog(Log())[4].to);
}

TEST_F(FaultsTest, SeesSizesAndSyncs) {
  const auto sizes = [&] {
    const int file = Open("a"), other = Open("b");
    ::ftruncate(file, 100);
    ::truncate(At("a").c_str(), 50);
    ::fallocate(file, 0, 0, 200);
    ::posix_fallocate(file, 0, 300);
    ::fsync(file);
    ::fdatasync(file);
    ::sync_file_range(file, 0, 10, SYNC_FILE_RANGE_WRITE);
    ::copy_file_range(file, nullptr, other, nullptr, 10, 0);
    ::sendfile(other, file, nullptr, 10);
    const int folder = ::open(root_.c_str(), O_RDONLY | O_DIRECTORY);
    ::fsync(folder);
  };
  EXPECT_THAT(KindsOf(sizes), ElementsAre("open", "open", "truncate", "truncate", "allocate", "allocate", "sync",
                                          "sync", "sync_range", "copy", "copy", "sync"));
  EXPECT_EQ(".", ReadLog(Log()).back().path);
}

TEST_F(FaultsTest, SaysWhatItCannotSee) {
  const auto mapped = [&] {
    const int file = Open("a");
    ::ftruncate(file, 4096);
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::munmap(memory, 4096);
  };
  KindsOf(mapped);
  EXPECT_THAT(seen_.unseen, ElementsAre("writes through a shared mapping"));
  KindsOf([] { ::close(static_cast<int>(::syscall(425, 1, nullptr))); });
  EXPECT_THAT(seen_.unseen, ElementsAre("io_uring"));
}

TEST_F(FaultsTest, LeavesOtherFoldersAndReadersAlone) {
  std::ofstream(At("a")) << "x";
  const auto elsewhere = [&] {
    std::ofstream((above_ / "other").string()) << "x";
    std::ofstream((above_ / "root2").string()) << "x";
    EXPECT_EQ("x", Content(At("a")));
  };
  EXPECT_THAT(KindsOf(elsewhere), IsEmpty());
}

TEST_F(FaultsTest, SeesAllThreads) {
  const auto two = [&] {
    std::thread one([&] { ::close(Open("a")); }), other([&] { ::close(Open("b")); });
    one.join();
    other.join();
  };
  EXPECT_EQ(4u, KindsOf(two).size());
}

TEST_F(FaultsTest, KillsBeforeHalfWayAndAfter) {
  const auto write = [&] {
    const int file = Open("a");
    [[maybe_unused]] const ssize_t count = ::write(file, "0123456789", 10);
  };
  FaultPlan plan = Plan();
  plan.at = 1;
  plan.death_note = (above_ / "death").string();
  for (const auto& [action, left] : std::vector<std::pair<Action, std::string>>{
           {Action::kKillBefore, ""}, {Action::kKillHalf, "01234"}, {Action::kKillAfter, "0123456789"}}) {
    fs::remove(At("a"));
    fs::remove(plan.death_note);
    plan.action = action;
    const int status = StatusOf(plan, write);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    EXPECT_EQ(left, Content(At("a")));
    EXPECT_EQ("3\n", Content(plan.death_note));
  }
  EXPECT_EQ("write", std::string(NameOf(ReadLog(Log()).back().kind)));
}

TEST_F(FaultsTest, FailsOneOrAllThatNeedRoom) {
  FaultPlan plan = Plan();
  plan.at = 1;
  plan.action = Action::kFail;
  plan.error = EIO;
  Arm(plan);
  int file = Open("a");
  EXPECT_EQ(-1, ::write(file, "ab", 2));
  EXPECT_EQ(EIO, errno);
  EXPECT_EQ(2, ::write(file, "ab", 2));
  EXPECT_TRUE(Disarm().hit);
  plan.action = Action::kFailFromHere;
  plan.error = ENOSPC;
  Arm(plan);
  file = Open("b");
  EXPECT_EQ(-1, ::write(file, "ab", 2));
  EXPECT_EQ(-1, ::write(file, "ab", 2));
  EXPECT_EQ(-1, Open("c"));
  EXPECT_EQ(ENOSPC, errno);
  EXPECT_EQ(0, ::fsync(file));
  EXPECT_EQ(0, ::unlink(At("b").c_str()));
}

TEST_F(FaultsTest, ShortensAndInterrupts) {
  FaultPlan plan = Plan();
  plan.at = kEvery;
  plan.action = Action::kShort;
  Arm(plan);
  const int file = Open("a");
  EXPECT_EQ(5, ::write(file, "0123456789", 10));
  plan.action = Action::kInterrupt;
  Arm(plan);
  EXPECT_EQ(-1, ::write(file, "x", 1));
  EXPECT_EQ(EINTR, errno);
  EXPECT_EQ(1, ::write(file, "x", 1));
  Disarm();
  EXPECT_EQ("01234x", Content(At("a")));
}

TEST_F(FaultsTest, FailsReads) {
  std::ofstream(At("a")) << "0123456789";
  FaultPlan plan = Plan();
  plan.of_reads = true;
  plan.at = 1;
  plan.action = Action::kFail;
  plan.error = EIO;
  Arm(plan);
  const int file = ::open(At("a").c_str(), O_RDONLY);
  char buffer[4];
  EXPECT_EQ(4, ::read(file, buffer, 4));
  EXPECT_EQ(-1, ::pread(file, buffer, 4, 0));
  EXPECT_EQ(4, ::pread(file, buffer, 4, 0));
}

TEST_F(FaultsTest, WaitsForAnother) {
  FaultPlan plan = Plan();
  plan.at = 0;
  plan.action = Action::kPause;
  plan.delay_ms = 5000;
  plan.wait_for = (above_ / "go").string();
  Arm(plan);
  std::thread paused([&] { ::close(Open("a")); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(fs::exists(At("a")));
  std::ofstream(plan.wait_for) << "go";
  paused.join();
  EXPECT_TRUE(fs::exists(At("a")));
}

}  // namespace
}  // namespace shardcts::faults
