#include "recording/blobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "contract/tensor_bytes.h"
#include "run_files/input_error.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

class BlobsTest : public testing::Test {
 protected:
  std::string ErrorOf(const std::string& digest, size_t most = kMaxBlobBytes) const {
    try {
      FolderBlobs(folder_.path()).Read(digest, most);
    } catch (const InputError& error) {
      return error.what();
    }
    return "none";
  }
  size_t Files() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      count += entry.is_regular_file();
    }
    return count;
  }

  TemporaryFolder folder_;
  const std::string bytes_ = std::string(100'000, 'x') + "end";
  const std::string digest_ = Digest(bytes_);
};

TEST_F(BlobsTest, WhatIsPutIsReadAndStandsOnce) {
  for (int i = 0; i < 2; ++i) {
    BlobStore store(folder_.path());
    store.Put(digest_, bytes_);
    store.Put(digest_, bytes_);
  }
  EXPECT_EQ(FolderBlobs(folder_.path()).Read(digest_), bytes_);
  EXPECT_EQ(Files(), 1u);
}

TEST_F(BlobsTest, DamageNamesTheFile) {
  BlobStore(folder_.path()).Put(digest_, bytes_);
  EXPECT_THAT(ErrorOf(digest_, 10), EndsWith(digest_ + ": larger than 10 bytes"));
  std::ofstream(folder_.path() / digest_, std::ios::binary) << "other bytes";
  EXPECT_THAT(ErrorOf(digest_), EndsWith(digest_ + ": has other bytes than its digest says"));
  std::filesystem::remove(folder_.path() / digest_);
  EXPECT_THAT(ErrorOf(digest_), EndsWith(digest_ + ": cannot be read"));
}

TEST_F(BlobsTest, OnlyDigestsAreNames) {
  std::ofstream(folder_.path() / "secret") << "x";
  for (const char* name : {"", "secret", "../../../../../../../../etc/passwd", "ABCDEF00000000000000000000000000"}) {
    EXPECT_THAT(ErrorOf(name), HasSubstr("not a digest")) << name;
  }
}

// Starts a process that does `body` and ends.
template <class Body>
pid_t Fork(const Body& body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  body();
  ::_exit(0);
}

TEST_F(BlobsTest, ProcessesWriteTheSameBlobsAtOnce) {
  constexpr int kBlobs = 50;
  const auto text = [](int i) { return std::string(10'000, 'a') + std::to_string(i); };
  std::vector<pid_t> writers;
  for (int writer = 0; writer < 8; ++writer) {
    writers.push_back(Fork([&] {
      BlobStore store(folder_.path());
      for (int i = 0; i < kBlobs; ++i) store.Put(Digest(text(i)), text(i));
    }));
  }
  for (const pid_t writer : writers) {
    int status = -1;
    ASSERT_EQ(::waitpid(writer, &status, 0), writer);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(Files(), size_t{kBlobs}) << "nothing unfinished is left";
  for (int i = 0; i < kBlobs; ++i) EXPECT_EQ(FolderBlobs(folder_.path()).Read(Digest(text(i))), text(i));
}

TEST_F(BlobsTest, AKilledWriterLeavesNoPartOfABlob) {
  const std::string large(8 << 20, 'y');
  const std::string digest = Digest(large);
  for (int round = 0; round < 20; ++round) {
    std::filesystem::remove(folder_.path() / digest);
    const pid_t writer = Fork([&] { BlobStore(folder_.path()).Put(digest, large); });
    ::usleep(static_cast<useconds_t>(round) * 300);
    ::kill(writer, SIGKILL);
    ::waitpid(writer, nullptr, 0);
    if (std::filesystem::exists(folder_.path() / digest)) {
      EXPECT_EQ(FolderBlobs(folder_.path()).Read(digest).size(), large.size()) << round;
    }
  }
  BlobStore(folder_.path()).Put(digest, large);
  EXPECT_EQ(FolderBlobs(folder_.path()).Read(digest), large);
}

}  // namespace
}  // namespace shardcts
