#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "storage/crc32.h"
#include "storage/utf8.h"

namespace shardcts::reference {
namespace {

TEST(Crc32Test, IsTheOneOfZipArchives) {
  EXPECT_EQ(Crc32("123456789"), 0xcbf43926u);  // the check value of this checksum
  EXPECT_EQ(Crc32(""), 0u);
}

TEST(Crc32Test, IsTheSameWithAndWithoutInstructions) {
  std::minstd_rand random(7);
  std::string bytes(3000, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  for (size_t begin = 0; begin < 20; ++begin) {
    for (size_t size : {0, 1, 15, 63, 64, 65, 127, 128, 129, 191, 192, 255, 1000, 2900}) {
      const std::string_view part = std::string_view(bytes).substr(begin, size);
      EXPECT_EQ(Crc32(part), PortableCrc32(part)) << begin << " " << size;
      EXPECT_EQ(Crc32(part.substr(size / 3), Crc32(part.substr(0, size / 3))), PortableCrc32(part))
          << begin << " " << size;
    }
  }
}

TEST(Utf8Test, OnlyWellFormedTextsPass) {
  for (const char* text : {"", "a", "größe", "\xf4\x8f\xbf\xbf"}) EXPECT_TRUE(IsUtf8(text)) << text;
  for (const char* text : {"\xff", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3", "\x80"}) {
    EXPECT_FALSE(IsUtf8(text));
  }
}

TEST(Utf8Test, Latin1GoesThereAndBack) {
  std::string all, back;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_TRUE(IsUtf8(Utf8OfLatin1(all)));
  ASSERT_TRUE(Latin1OfUtf8(Utf8OfLatin1(all), back));
  EXPECT_EQ(back, all);
  EXPECT_FALSE(Latin1OfUtf8("\u0100", back));
}

}  // namespace
}  // namespace shardcts::reference
