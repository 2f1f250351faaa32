#include "run_files/foreign_text.h"

#include <gtest/gtest.h>

namespace shardcts {
namespace {

TEST(ForeignTextTest, ShortTextsStay) {
  EXPECT_EQ(Bounded("", 4), "");
  EXPECT_EQ(Bounded("abcd", 4), "abcd");
}

TEST(ForeignTextTest, LongTextsSayHowLongTheyWere) {
  EXPECT_EQ(Bounded("abcde", 4), "abcd… (5 bytes)");
  EXPECT_LE(Bounded(std::string(5'000'000, 'x')).size(), kMaxMessageBytes + 40);
}

TEST(ForeignTextTest, CharactersAreNotCut) {
  const std::string cut = Bounded(std::string(5'000'000, 'x'));
  EXPECT_EQ(Bounded("model.forward: RuntimeError: " + cut), "model.forward: RuntimeError: " + cut);
  EXPECT_EQ(Bounded("abcä!", 4), "abc… (6 bytes)");
  EXPECT_EQ(Bounded("abcä!", 5), "abcä… (6 bytes)");
  EXPECT_TRUE(IsUtf8(Bounded("𝄞𝄞𝄞", 6)));
}

TEST(ForeignTextTest, OneLineLeavesTheTerminalAlone) {
  EXPECT_EQ(OneLine("plain ä€𝄞"), "plain ä€𝄞");
  EXPECT_EQ(OneLine("a\r\n\tb"), "a   b");
  EXPECT_EQ(OneLine("\x1b[2J\x07\x7f\u0085\u009b2J"), "?[2J????2J");
  EXPECT_EQ(OneLine("\u202egnp.exe\u2028x\u2066y"), "?gnp.exe?x?y");
  EXPECT_EQ(OneLine(std::string("a\0b\xFF\xC3", 5)), "a?b??");
}

TEST(ForeignTextTest, ABeginningEndsWithACharacter) {
  EXPECT_EQ(Beginning("abcä!", 4), "abc");
  EXPECT_EQ(Beginning("abcä!", 5), "abcä");
  EXPECT_EQ(Beginning("abc", 5), "abc");
}

TEST(ForeignTextTest, OnlyWhatIsUtf8IsTakenForIt) {
  for (const char* good : {"", "plain", "ä", "€", "𝄞", "\xF4\x8F\xBF\xBF"}) EXPECT_TRUE(IsUtf8(good)) << good;
  for (const char* bad : {"\xFF", "\xC3", "a\xC3(", "\x80", "\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                          "\xE2\x82", "\xF0\x9D\x84"}) {
    EXPECT_FALSE(IsUtf8(bad));
  }
}

}  // namespace
}  // namespace shardcts
