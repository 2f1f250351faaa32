#include "run_files/json_members.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(SplitJsonObject, GivesValuesAsTheyStand) {
  const auto members = SplitJsonObject(R"( {"a": 1, "b":{"c":[1, {"d":"}"}]}, "e" : "x,y" ,"f":[], "g":null} )");
  ASSERT_TRUE(members);
  EXPECT_THAT(*members, ElementsAre(Pair("a", "1"), Pair("b", R"({"c":[1, {"d":"}"}]})"), Pair("e", R"("x,y")"),
                                    Pair("f", "[]"), Pair("g", "null")));
}

TEST(SplitJsonObject, StringsEndAtTheirOwnQuotes) {
  const auto members = SplitJsonObject(R"({"a":"\"},{","b":"\\","c\"":["\\\"]"]})");
  ASSERT_TRUE(members);
  EXPECT_THAT(*members, ElementsAre(Pair("a", R"("\"},{")"), Pair("b", R"("\\")"), Pair(R"(c\")", R"(["\\\"]"])")));
}

TEST(SplitJsonObject, AnEmptyObjectHasNone) {
  EXPECT_EQ(SplitJsonObject("{}"), JsonMembers{});
  EXPECT_EQ(SplitJsonObject(" { } "), JsonMembers{});
}

TEST(SplitJsonObject, WhatIsCutOffIsNoObject) {
  const std::string_view whole = R"({"a":{"b":"c\"d"},"e":[1,2]})";
  ASSERT_TRUE(SplitJsonObject(whole));
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(SplitJsonObject(whole.substr(0, length)), std::nullopt) << whole.substr(0, length);
  }
}

TEST(SplitJsonObject, OtherTextIsNoObject) {
  for (const std::string_view text : {"", "1", "[1]", "\"a\"", "{1:2}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
                                      "{\"a\":1}}", "{\"a\":1} x", "{,}", "{\"a\":1 \"b\":2}]"}) {
    EXPECT_EQ(SplitJsonObject(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace shardcts
