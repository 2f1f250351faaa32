#include "recording/zip_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

#include <fstream>
#include <sstream>

#include "run_files/input_error.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using ::testing::HasSubstr;

class ZipArchiveTest : public testing::Test {
 protected:
  std::string ErrorOf(size_t most = 1000) const {
    try {
      ZipReader archive(file_);
      for (const auto& [name, size] : archive.entries()) archive.Read(name, most);
    } catch (const InputError& error) {
      return error.what();
    }
    return "none";
  }
  std::string Bytes() const {
    std::ostringstream bytes;
    bytes << std::ifstream(file_, std::ios::binary).rdbuf();
    return bytes.str();
  }
  void Write(const std::string& name, const std::string& bytes) const {
    ZipWriter archive(file_);
    archive.Add(name, bytes);
    archive.Close();
  }

  TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_.path() / "x.zip";
};

TEST_F(ZipArchiveTest, GivesBackWhatItWasGiven) {
  Write("a/b", std::string("\0\xff text", 7));
  const ZipReader archive(file_);
  EXPECT_EQ(archive.Read("a/b", 7), std::string("\0\xff text", 7));
  EXPECT_EQ(archive.Read("c", 7), std::nullopt);
}

TEST_F(ZipArchiveTest, TheSameContentMakesTheSameFile) {
  Write("a", "text");
  const std::string first = Bytes();
  Write("a", "text");
  EXPECT_EQ(Bytes(), first);
}

TEST_F(ZipArchiveTest, WhatIsLargerThanWantedIsNotUnpacked) {
  Write("zeros", std::string(50 << 20, '\0'));
  EXPECT_LT(std::filesystem::file_size(file_), 100'000u);
  EXPECT_THAT(ErrorOf(1 << 20), HasSubstr("x.zip: zeros: larger than 1048576 bytes"));
}

// An archive that lies about a size: the directory says 10 bytes, the data unpacks to a million.
TEST_F(ZipArchiveTest, ASizeThatIsNotTrueIsAnError) {
  Write("zeros", std::string(1'000'000, '\0'));
  std::string bytes = Bytes();
  const std::string size("\x40\x42\x0f\x00", 4);
  for (size_t at = bytes.find(size); at != bytes.npos; at = bytes.find(size, at)) {
    bytes.replace(at, 4, std::string("\x0a\0\0\0", 4));
  }
  std::ofstream(file_, std::ios::binary) << bytes;
  EXPECT_THAT(ErrorOf(), HasSubstr("x.zip: "));
}

TEST_F(ZipArchiveTest, TruncatedAndChangedArchivesAreErrorsOrAreRead) {
  Write("a", "some text, some text, some text");
  const std::string whole = Bytes();
  for (size_t length = 1; length < whole.size(); ++length) {
    std::ofstream(file_, std::ios::binary) << whole.substr(0, length);
    EXPECT_THAT(ErrorOf(), HasSubstr("x.zip: ")) << length;
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x55);
    std::ofstream(file_, std::ios::binary) << changed;
    EXPECT_THAT(ErrorOf(), ::testing::AnyOf("none", HasSubstr("x.zip: "))) << i;
  }
}

}  // namespace
}  // namespace shardcts
