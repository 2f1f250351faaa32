#include "results/version_range.h"

#include <gtest/gtest.h>

namespace shardcts {
namespace {

bool Contains(const std::string& range, const std::string& version) {
  return VersionRange::Parse(range).value().Contains(version);
}

TEST(VersionRangeTest, EveryBoundMustHold) {
  EXPECT_TRUE(Contains(">=2.13, <2.15", "2.13.0+cpu"));
  EXPECT_TRUE(Contains(">=2.13,<2.15", "2.14.1"));
  EXPECT_FALSE(Contains(">=2.13,<2.15", "2.15.0+cu132"));
  EXPECT_FALSE(Contains(">=2.13,<2.15", "2.12.9"));
}

TEST(VersionRangeTest, NumbersAreComparedAsNumbers) {
  EXPECT_TRUE(Contains(">2.9", "2.10"));
  EXPECT_FALSE(Contains("<2.9", "2.10"));
  EXPECT_TRUE(Contains("==2.14", "2.14.0"));
  EXPECT_FALSE(Contains("==2.14", "2.14.1"));
  EXPECT_TRUE(Contains("<=2.14.1", "2.14.1+cu130"));
  EXPECT_FALSE(Contains(">2.14", "2.14.0"));
}

TEST(VersionRangeTest, UnknownVersionIsInNone) {
  EXPECT_FALSE(Contains(">=0", ""));
  EXPECT_FALSE(Contains("<3", "main"));
}

TEST(VersionRangeTest, EndsOrDoesNot) {
  EXPECT_TRUE(VersionRange::Parse(">=2,<3")->HasUpperBound());
  EXPECT_TRUE(VersionRange::Parse("==2.13")->HasUpperBound());
  EXPECT_FALSE(VersionRange::Parse(">=2")->HasUpperBound());
}

TEST(VersionRangeTest, OverlapsWhereAVersionIsInBoth) {
  const auto overlap = [](const char* one, const char* other) {
    const VersionRange a = VersionRange::Parse(one).value();
    const VersionRange b = VersionRange::Parse(other).value();
    EXPECT_EQ(a.Overlaps(b), b.Overlaps(a));
    return a.Overlaps(b);
  };
  EXPECT_TRUE(overlap(">=2.13", "<2.15"));
  EXPECT_TRUE(overlap("<=2.14", ">=2.14"));
  EXPECT_TRUE(overlap(">=2.13,<2.15", "==2.14.1"));
  EXPECT_TRUE(overlap("<1", "<3"));
  EXPECT_FALSE(overlap("<2.14", ">=2.14"));
  EXPECT_FALSE(overlap(">=2.13,<2.15", "==2.15.0"));
}

TEST(VersionRangeTest, OtherTextIsNone) {
  for (const char* text : {"", "2.13", ">=", ">=2.", ">=.1", ">=2..1", "~=2.13", ">=2.13,", ",<3", ">=2.13 <2.15", ">=a", "!=2"}) {
    EXPECT_FALSE(VersionRange::Parse(text)) << text;
  }
}

TEST(VersionRangeTest, NoVersionCanBeInIt) {
  for (const char* text : {">=2.15,<2.13", ">2.13,<2.13", "==2.13,==2.14", "==2.13,>2.13"}) {
    EXPECT_FALSE(VersionRange::Parse(text)) << text;
  }
  for (const char* text : {">2.13,<2.13.1", "<=2.13,>=2.13", "<1"}) EXPECT_TRUE(VersionRange::Parse(text)) << text;
}

}  // namespace
}  // namespace shardcts
